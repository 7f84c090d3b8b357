// Writes schematics as Go's yaml.v3 does, to compare our own canonical form with: the fields are the
// Image Factory's, of which only names and order matter here.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

type document struct {
	Overlay struct {
		Image string `yaml:"image"`
		Name  string `yaml:"name"`
	} `yaml:"overlay,omitempty"`
	Customization struct {
		Arguments []string `yaml:"extraKernelArgs,omitempty"`
		Meta      []struct {
			Key   uint8  `yaml:"key"`
			Value string `yaml:"value"`
		} `yaml:"meta,omitempty"`
		Extensions struct {
			Official []string `yaml:"officialExtensions,omitempty"`
		} `yaml:"systemExtensions,omitempty"`
		SecureBoot struct {
			WellKnown bool `yaml:"includeWellKnownCertificates,omitempty"`
		} `yaml:"secureboot,omitempty"`
	} `yaml:"customization"`
}

// Reads JSON strings, each the YAML text of a schematic, and writes their canonical form likewise.
func main() {
	for input := json.NewDecoder(os.Stdin); input.More(); {
		var text string
		if err := input.Decode(&text); err != nil {
			log.Fatal(err)
		}
		strict := yaml.NewDecoder(strings.NewReader(text))
		strict.KnownFields(true)
		var read document
		if err := strict.Decode(&read); err != nil {
			log.Fatalf("%s: %s", text, err)
		}
		written, err := yaml.Marshal(&read)
		if err != nil {
			log.Fatal(err)
		}
		answer, err := json.Marshal(string(written))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(answer))
	}
}
