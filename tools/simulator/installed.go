package main

import (
	"regexp"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/extensions"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"github.com/siderolabs/talos/pkg/machinery/version"
)

// installed is the Talos on a node's "disk".
type installed struct {
	// Version is the tag, such as v1.13.0.
	Version string `json:"version"`
	// Schematic is the Image Factory's id; empty where the image is not the factory's.
	Schematic string `json:"schematic,omitempty"`
}

// schematicExtension is what the Image Factory calls the extension that names
// an image's schematic.
const schematicExtension = "schematic"

var (
	imageVersion   = regexp.MustCompile(`:(v\d+\.\d+\.\d+(-(alpha|beta|rc)\.\d+)?)(@|$)`)
	imageSchematic = regexp.MustCompile(`/([0-9a-f]{64})[:@]`)
)

// fromInstaller is the Talos that an installer image brings. One that does not
// tell its version brings the version that nodes have before they are installed.
func fromInstaller(image string) installed {
	talos := installed{Version: version.Tag}

	if found := imageVersion.FindStringSubmatch(image); found != nil {
		talos.Version = found[1]
	}

	if found := imageSchematic.FindStringSubmatch(image); found != nil {
		talos.Schematic = found[1]
	}

	return talos
}

// talos is what the node runs: from its disk once it is installed.
func (n *node) talos() installed {
	if n.record.Talos != nil {
		return *n.record.Talos
	}

	return installed{Version: version.Tag}
}

// install writes Talos to the disk with the first configuration; what is there
// stays there, as on a machine.
func (n *node) install() {
	if n.record.Talos != nil || n.persistent == nil || n.persistent.Machine() == nil {
		return
	}

	talos := fromInstaller(n.persistent.Machine().Install().Image())
	n.record.Talos = &talos
	n.save()
}

// extensions shows the schematic as a machine does: as an extension that the
// Image Factory adds to its images. What else a schematic brings is not known.
func (n *node) extensions() []resource.Resource {
	talos := n.talos()
	if talos.Schematic == "" {
		return nil
	}

	status := runtime.NewExtensionStatus(runtime.NamespaceName, "0")
	status.TypedSpec().Image = "0.sqsh"
	status.TypedSpec().Metadata = extensions.Metadata{
		Name:        schematicExtension,
		Version:     talos.Schematic,
		Author:      simulated,
		Description: "Virtual extension which specifies the schematic of the image built with Image Factory.",
	}

	return []resource.Resource{status}
}
