package main

import (
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/version"
)

func TestFromInstaller(t *testing.T) {
	t.Parallel()

	schematic := strings.Repeat("0f", 32)

	for image, want := range map[string]installed{
		"ghcr.io/siderolabs/installer:v1.13.6":                                    {Version: "v1.13.6"},
		"ghcr.io/siderolabs/installer:v1.14.0-beta.1":                             {Version: "v1.14.0-beta.1"},
		"registry:5000/siderolabs/installer:v1.13.6@sha256:" + schematic:          {Version: "v1.13.6"},
		"factory.talos.dev/metal-installer/" + schematic + ":v1.13.6":             {Version: "v1.13.6", Schematic: schematic},
		"factory.talos.dev/metal-installer/" + schematic + "@sha256:" + schematic: {Version: version.Tag, Schematic: schematic},
		"registry:5000/installer:latest":                                          {Version: version.Tag},
		"":                                                                        {Version: version.Tag},
	} {
		if got := fromInstaller(image); got != want {
			t.Errorf("%q: got %v, want %v", image, got, want)
		}
	}
}
