// Command schematic-id prints the id that the Image Factory gives a schematic, by the factory's own
// package. It reads the schematic's YAML on stdin; what is wrong with it goes to stderr, and the exit
// code then is 1. It asks nobody.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/siderolabs/image-factory/pkg/schematic"
	"go.yaml.in/yaml/v4"
)

// factory is the module that knows schematics.
const factory = "github.com/siderolabs/image-factory"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run prints the id of the schematic on stdin, or with the argument "version" the version of the
// factory's package; it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 1 && args[0] == "version":
		fmt.Fprintln(stdout, version())

		return 0
	case len(args) > 0:
		fmt.Fprintln(stderr, "usage: schematic-id <FILE, or schematic-id version")

		return 2
	}

	text, err := io.ReadAll(stdin)
	if err == nil {
		var id string
		if id, err = idOf(text); err == nil {
			_, err = fmt.Fprintln(stdout, id)
		}
	}

	if err != nil {
		fmt.Fprintln(stderr, err)

		return 1
	}

	return 0
}

// version is that of the factory's package, as Go noted it in this program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}

	for _, module := range info.Deps {
		if module.Path == factory {
			return module.Version
		}
	}

	return "unknown"
}

// idOf is the id of a schematic. A text without a document is the schematic that changes nothing; a
// second document, of which the factory would read nothing, is an error.
func idOf(text []byte) (string, error) {
	if err := checkDocuments(text); err != nil {
		return "", err
	}

	read, err := schematic.Unmarshal(text)
	if errors.Is(err, io.EOF) {
		read, err = &schematic.Schematic{}, nil
	}

	if err != nil {
		return "", err
	}

	return read.ID()
}

// checkDocuments refuses a second document and what is no mapping.
func checkDocuments(text []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))

	for number := 0; ; number++ {
		var document yaml.Node

		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return err
		}

		if number > 0 {
			return fmt.Errorf("line %d: a second document: a schematic is one", document.Line)
		}

		if content := document.Content[0]; content.Kind != yaml.MappingNode && content.Tag != "!!null" {
			return fmt.Errorf("line %d: not a mapping of overlay and customization", content.Line)
		}
	}
}
