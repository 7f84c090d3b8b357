package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// realTalosctl runs the unmodified talosctl in a directory of its own.
type realTalosctl struct {
	t    *testing.T
	path string
	dir  string
}

// findTalosctl finds talosctl by the environment variable TALOSCTL or PATH.
func findTalosctl(t *testing.T) *realTalosctl {
	t.Helper()

	path := os.Getenv("TALOSCTL")
	if path == "" {
		found, err := exec.LookPath("talosctl")
		if err != nil {
			t.Skip("talosctl is neither in PATH nor named by the environment variable TALOSCTL")
		}

		path = found
	}

	return &realTalosctl{t: t, path: path, dir: t.TempDir()}
}

// run runs one command and returns all it says.
func (r *realTalosctl) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()

	command := exec.CommandContext(ctx, r.path, args...)
	command.Dir = r.dir
	command.Env = append(os.Environ(), "TALOSCONFIG="+filepath.Join(r.dir, "talosconfig"), "HOME="+r.dir)

	output, err := command.CombinedOutput()

	return string(output), err
}

// version is talosctl's own, such as v1.13.9.
func (r *realTalosctl) version() string {
	r.t.Helper()

	output, err := r.run("version", "--client", "--short")

	words := strings.Fields(output)
	if err != nil || len(words) == 0 {
		r.t.Fatal(err, output)
	}

	return words[len(words)-1]
}

// ok runs a command that must succeed and say something.
func (r *realTalosctl) ok(want string, args ...string) {
	r.t.Helper()

	if output, err := r.run(args...); err != nil || !strings.Contains(output, want) {
		r.t.Errorf("talosctl %s: got error %v and output without %q:\n%s", strings.Join(args, " "), err, want, output)
	}
}

// fails runs a command that must fail and say why.
func (r *realTalosctl) fails(want string, args ...string) {
	r.t.Helper()

	if output, err := r.run(args...); err == nil || !strings.Contains(output, want) {
		r.t.Errorf("talosctl %s: got error %v and output without %q:\n%s", strings.Join(args, " "), err, want, output)
	}
}

// on is the arguments that talk to one node directly.
func on(address string, args ...string) []string {
	return append([]string{"-n", address, "-e", address}, args...)
}

func TestRealTalosctl(t *testing.T) {
	t.Parallel()

	talosctl := findTalosctl(t)
	addresses := testAddresses(2)
	f := startFleet(t, t.TempDir(), addresses)
	node, worker := addresses[0], addresses[1]

	talosctl.ok("", "gen", "config", "demo", "https://"+node+":6443", "--install-disk", "/dev/vda")

	talosctl.ok(simulated, "-n", node, "version", "--insecure")
	talosctl.ok(nodeAt(f, node).spec.mac.String(), "-n", node, "get", "links", "--insecure")
	talosctl.ok("maintenance", "-n", node, "get", "machinestatus", "--insecure")
	talosctl.ok(diskPath, "-n", node, "get", "disks", "--insecure", "-o", "yaml")
	talosctl.fails("not authorized", "-n", node, "get", "mc", "--insecure")

	fingerprint, err := os.ReadFile(nodeAt(f, node).path(fingerprintFile))
	if err != nil {
		t.Fatal(err)
	}

	apply := []string{"apply-config", "--insecure", "-n", node, "-f", "controlplane.yaml", "--cert-fingerprint"}
	talosctl.fails("fingerprint", append(apply, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")...)
	talosctl.ok(detailsNoReboot, append(apply, strings.TrimSpace(string(fingerprint)))...)
	talosctl.ok(detailsNoReboot, "apply-config", "--insecure", "-n", worker, "-f", "worker.yaml")

	eventually(t, "the nodes answer securely", func() error {
		if _, err := talosctl.run(on(node, "version")...); err != nil {
			return err
		}

		_, err := talosctl.run(on(worker, "version")...)

		return err
	})

	talosctl.fails("certificate required", "-n", node, "version", "--insecure")
	talosctl.ok("", on(node, "bootstrap")...)
	talosctl.fails("AlreadyExists", on(node, "bootstrap")...)
	talosctl.fails("Unimplemented", on(worker, "bootstrap")...)

	eventually(t, "etcd is healthy", func() error {
		_, err := talosctl.run(on(node, "etcd", "members")...)

		return err
	})

	talosctl.ok("3.6", on(node, "etcd", "status")...)
	talosctl.ok("", on(node, "etcd", "snapshot", "etcd.snapshot")...)
	talosctl.ok("kubelet", on(node, "services")...)
	talosctl.ok("worker", on(node, "get", "members")...)
	talosctl.ok("running", on(node, "get", "machinestatus")...)
	talosctl.ok("linkstatuses.net.talos.dev", on(node, "get", "rd")...)
	talosctl.ok("", on(node, "kubeconfig", "kubeconfig", "--merge=false")...)
	talosctl.ok("No changes.", on(node, "apply-config", "-f", "controlplane.yaml", "--dry-run")...)

	checkReadBack(talosctl, node)
	checkUpgrade(talosctl, worker)

	talosctl.fails("not enough started members", on(node, "reset", "--reboot", "--timeout", "15s")...)
	talosctl.ok("post check passed", on(worker, "reset", "--reboot", "--timeout", "15s")...)
	talosctl.ok(simulated, "-n", worker, "version", "--insecure")
	talosctl.ok("post check passed", on(node, "reboot", "--timeout", "15s")...)
}

// checkUpgrade upgrades a node, which then shows another version and schematic.
func checkUpgrade(talosctl *realTalosctl, node string) {
	talosctl.t.Helper()

	schematic := strings.Repeat("ab", 32)
	image := "factory.talos.dev/metal-installer/" + schematic + ":v1.13.6"

	// Without another image, the node gets the installer of talosctl's own version.
	talosctl.ok("Tag:         "+talosctl.version(), on(node, "version", "--short")...)

	if shown, err := talosctl.run(on(node, "get", "extensions")...); err != nil || strings.Contains(shown, schematicExtension) {
		talosctl.t.Error(shown, err)
	}

	talosctl.ok("upgrade completed", on(node, "upgrade", "--image", image, "--drain=false", "--timeout", "15s")...)
	talosctl.ok("v1.13.6", on(node, "version", "--short")...)
	talosctl.ok("v1.13.6", on(node, "get", "versions")...)
	talosctl.ok(schematic, on(node, "get", "extensions")...)
	talosctl.ok("v1.13.6", on(node, "get", "members")...)
}

// checkReadBack compares the configuration that a node has with the file.
func checkReadBack(talosctl *realTalosctl, node string) {
	talosctl.t.Helper()

	output, err := talosctl.run(on(node, "get", "machineconfig", "persistent", "-o", "json")...)
	if err != nil {
		talosctl.t.Fatal(err, output)
	}

	var reply struct {
		Spec string `json:"spec"`
	}

	if err = json.Unmarshal([]byte(output), &reply); err != nil {
		talosctl.t.Fatal(err)
	}

	file, err := os.ReadFile(filepath.Join(talosctl.dir, "controlplane.yaml"))
	if err != nil {
		talosctl.t.Fatal(err)
	}

	if reply.Spec != string(file) {
		talosctl.t.Error("the configuration read back is not the file that was applied")
	}
}
