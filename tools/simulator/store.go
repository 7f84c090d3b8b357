package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// record is what a simulated node remembers on its "disk" beside its machine
// configuration.
type record struct {
	// BootID is that of /proc/sys/kernel/random/boot_id.
	BootID string `json:"bootId"`
	// BootedAt is the time of the last boot.
	BootedAt time.Time `json:"bootedAt"`
	// Off is true after a shutdown, until somebody presses the power button.
	Off bool `json:"off,omitempty"`
	// TryUntil is when a configuration applied with --mode=try is rolled back.
	TryUntil *time.Time `json:"tryUntil,omitempty"`
	// Talos is set once Talos was written to the disk.
	Talos *installed `json:"talos,omitempty"`
	// NextTalos is what an upgrade wrote there, until the next boot.
	NextTalos *installed `json:"nextTalos,omitempty"`
	// Etcd is set once the node has an etcd data directory.
	Etcd *etcdSeat `json:"etcd,omitempty"`
}

// etcdSeat is a node's place in an etcd cluster.
type etcdSeat struct {
	Cluster string    `json:"cluster"`
	Member  uint64    `json:"member"`
	ReadyAt time.Time `json:"readyAt"`
}

// Names of the files in a node's directory.
const (
	recordFile      = "node.json"
	activeFile      = "active.yaml"
	persistentFile  = "persistent.yaml"
	rollbackFile    = "rollback.yaml"
	fingerprintFile = "maintenance-fingerprint"
	powerOnFile     = "power-on"
)

// makeDir creates a directory that only its owner can enter.
func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}

	return os.Chmod(path, 0o700)
}

// writeFile replaces a file at once: readers see the old or the new content.
func writeFile(path string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}

	defer os.Remove(temp.Name()) //nolint:errcheck // gone after the rename

	if _, err = temp.Write(data); err != nil {
		temp.Close() //nolint:errcheck // the first error counts

		return err
	}

	if err = temp.Close(); err != nil {
		return err
	}

	return os.Rename(temp.Name(), path)
}

// writeJSON replaces a JSON file at once.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}

	return writeFile(path, append(data, '\n'))
}

// readJSON reads a JSON file; a missing one leaves value as it is.
func readJSON(path string, value any) error {
	data, err := readOptional(path)
	if err != nil || data == nil {
		return err
	}

	if err = json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}

	return nil
}

// readOptional reads a file; a missing one is nil.
func readOptional(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}

	return data, err
}

// removeFile removes a file that may not exist.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	return nil
}
