package main

import (
	"bytes"
	"strings"
	"testing"
)

// The ids are the Image Factory's: of its own tests, and as public repositories name them.
func TestKnownIDs(t *testing.T) {
	const (
		plain      = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
		sdBoot     = "9ed5fecdacb36b5c5427b87d409f1065cfb2df69b0f71c58b868d9d466d8dab3"
		arguments  = "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c"
		meta       = "d308a2a5ee2277bed5fbaa104fcbc8d59122abfa737df987a95b4ca763459a7f"
		overlay    = "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9"
		secureBoot = "fa8e05f142a851d3ee568eb0a8e5841eaf6b0ebc8df9a63df16ac5ed2c04f3e6"
		sector4k   = "92833e9ddd9bb9e11b2464fa5525429f01866306d52ebd882ee08d7918f6d1ea"
	)

	for text, want := range map[string]string{
		"":                    plain,
		"# nothing\n":         plain,
		"{}":                  plain,
		"customization: {}\n": plain,
		"customization: {extraKernelArgs: [], bootloader: none}":                    plain,
		"customization:\n  bootloader: sd-boot\n":                                   sdBoot,
		"customization: {extraKernelArgs: [noapic, nolapic]}":                       arguments,
		"customization: {systemExtensions: {}, extraKernelArgs: [noapic, nolapic]}": arguments,
		"customization: {meta: [{key: 0x0a, value: foo}]}":                          meta,
		"overlay: {name: rpi_generic, image: siderolabs/sbc-raspberrypi}":           overlay,
		"customization: {secureboot: {includeWellKnownCertificates: true}}":         secureBoot,
		"customization: {diskImage: {sectorSize: 4096}}":                            sector4k,
	} {
		var stdout, stderr bytes.Buffer
		if code := run(nil, strings.NewReader(text), &stdout, &stderr); code != 0 || stdout.String() != want+"\n" {
			t.Errorf("%q: %d %s%s", text, code, &stdout, &stderr)
		}
	}
}

func TestWhatIsNoSchematicIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"customisation: {}":                           "line 1: field customisation not found",
		"customization:\n  bootloder: sd-boot":        "line 2: field bootloder not found",
		"customization: {bootloader: lilo}":           "lilo does not belong to BootloaderKind",
		"customization: {meta: [{key: 300}]}":         "cannot construct !!int `300` into uint8",
		"customization: {}\ncustomization: {}":        "line 2: mapping key \"customization\" already defined",
		"customization: {}\n---\ncustomization: {}\n": "line 2: a second document",
		"[]":   "line 1: not a mapping",
		"a: [": "line 1",
	} {
		var stdout, stderr bytes.Buffer
		if code := run(nil, strings.NewReader(text), &stdout, &stderr); code != 1 || stdout.Len() > 0 {
			t.Errorf("%q: %d %s", text, code, &stdout)
		}

		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: %s, not %s", text, &stderr, want)
		}
	}
}

func TestArguments(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"--help"}, strings.NewReader(""), &stdout, &stderr); code != 2 || stderr.Len() == 0 {
		t.Errorf("%d %s", code, &stderr)
	}
}
