// Command platforms prints for which platforms the Image Factory makes images, as JSON, by Talos's own
// package. What it prints is kept in config/schemas/platforms.json:
//
//	cd tools/platforms && go run . >../../config/schemas/platforms.json
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/siderolabs/talos/pkg/machinery/platforms"
)

// platform is what is asked of a platform before its images are named.
type platform struct {
	// Architectures that it has images for.
	Architectures []string `json:"architectures"`
	// Boot is how its machines start: disk-image, iso, pxe.
	Boot []string `json:"boot"`
	// DiskImage is the end of its disk image's name.
	DiskImage string `json:"diskImage,omitempty"`
	// Since is the first Talos that has it.
	Since string `json:"since,omitempty"`
	// SecureBoot is whether it has images for that.
	SecureBoot bool `json:"secureBoot"`
}

func main() {
	if err := printTable(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// printTable writes all platforms by their names.
func printTable(to io.Writer) error {
	known := map[string]platform{}

	for _, one := range append(platforms.CloudPlatforms(), platforms.MetalPlatform()) {
		known[one.Name] = platform{
			Architectures: one.Architectures,
			Boot:          one.BootMethods,
			DiskImage:     one.DiskImageSuffix,
			SecureBoot:    one.SecureBootSupported,
			Since:         since(one),
		}
	}

	encoder := json.NewEncoder(to)
	encoder.SetIndent("", " ")

	return encoder.Encode(known)
}

// since is "" for a platform that every Talos has.
func since(one platforms.Platform) string {
	if one.MinVersion.String() == "0.0.0" {
		return ""
	}

	return one.MinVersion.String()
}
