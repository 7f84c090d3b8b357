package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"github.com/google/uuid"
)

// nodeSpec says what hardware a simulated node pretends to have.
type nodeSpec struct {
	address netip.Addr
	mac     net.HardwareAddr
	uuid    uuid.UUID
}

// nodeEntry is one element of the nodes file.
type nodeEntry struct {
	Address string `json:"address"`
	MAC     string `json:"mac"`
	UUID    string `json:"uuid"`
}

// loadInventory reads the nodes file.
func loadInventory(path string) ([]nodeSpec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("nodes file: %w", err)
	}

	specs, err := parseInventory(data)
	if err != nil {
		return nil, fmt.Errorf("nodes file %s: %w", path, err)
	}

	return specs, nil
}

// parseInventory turns the contents of a nodes file into node specs and
// refuses everything that is not a distinct loopback address.
func parseInventory(data []byte) ([]nodeSpec, error) {
	var entries []nodeEntry

	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()

	if err := decoder.Decode(&entries); err != nil {
		return nil, err
	}

	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}

	specs := make([]nodeSpec, 0, len(entries))
	seen := map[netip.Addr]bool{}

	for i, entry := range entries {
		spec, err := entry.spec()
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i+1, err)
		}

		if seen[spec.address] {
			return nil, fmt.Errorf("element %d: address %s is listed twice", i+1, spec.address)
		}

		seen[spec.address] = true

		specs = append(specs, spec)
	}

	return specs, nil
}

// spec checks an entry and fills in what it leaves out.
func (entry nodeEntry) spec() (nodeSpec, error) {
	var spec nodeSpec

	address, err := netip.ParseAddr(entry.Address)
	if err != nil {
		return spec, fmt.Errorf("address %q is not an IP address", entry.Address)
	}

	if !address.Is4() || !address.IsLoopback() {
		return spec, fmt.Errorf("address %s is outside of 127.0.0.0/8: simulated nodes only live on loopback addresses", address)
	}

	spec.address = address
	spec.mac = defaultMAC(address)
	spec.uuid = uuid.NewSHA1(uuid.NameSpaceURL, []byte("simulated-talos-node:"+address.String()))

	if entry.MAC != "" {
		if spec.mac, err = net.ParseMAC(entry.MAC); err != nil || len(spec.mac) != 6 {
			return spec, fmt.Errorf("mac %q of %s is not a MAC address", entry.MAC, address)
		}
	}

	if entry.UUID != "" {
		if spec.uuid, err = uuid.Parse(entry.UUID); err != nil {
			return spec, fmt.Errorf("uuid %q of %s is not a UUID", entry.UUID, address)
		}
	}

	return spec, nil
}

// defaultMAC derives a MAC address (in QEMU's range) from the node's address.
func defaultMAC(address netip.Addr) net.HardwareAddr {
	sum := sha256.Sum256([]byte(address.String()))

	return net.HardwareAddr{0x52, 0x54, 0x00, sum[0], sum[1], sum[2]}
}
