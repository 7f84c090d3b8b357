// Command versions prints which Kubernetes each Talos takes, as JSON, by Talos's own package.
// It is compiled in the module of a talosctl, and so knows what that one knows:
//
//	cd tools/talosctl/1.13 && go run ../../versions/main.go
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/compatibility"
)

// beyond is a minor version that neither Talos nor Kubernetes will have for long.
const beyond = 200

// supported is the oldest and the newest minor version of Kubernetes that a Talos takes.
type supported struct {
	Oldest string `json:"oldest"`
	Newest string `json:"newest"`
}

func main() {
	known := map[string]supported{}

	for minor := range beyond {
		version := fmt.Sprintf("1.%d", minor)
		if found, ok := kubernetes(version); ok {
			known[version] = found
		}
	}

	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")

	if err := encoder.Encode(known); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// kubernetes asks for each minor version of Kubernetes whether a Talos takes it.
func kubernetes(talos string) (supported, bool) {
	target, err := compatibility.ParseTalosVersion(&machine.VersionInfo{Tag: "v" + talos + ".0"})
	if err != nil {
		return supported{}, false
	}

	found := supported{}

	for minor := range beyond {
		version, err := compatibility.ParseKubernetesVersion(fmt.Sprintf("1.%d.0", minor))
		if err != nil || version.SupportedWith(target) != nil {
			continue
		}

		found.Newest = fmt.Sprintf("1.%d", minor)
		if found.Oldest == "" {
			found.Oldest = found.Newest
		}
	}

	return found, found.Oldest != ""
}
