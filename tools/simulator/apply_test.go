package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
)

// edit changes the control plane's configuration.
func (c *testCluster) edit(change func(*v1alpha1.Config)) []byte {
	c.t.Helper()

	provider, err := configloader.NewFromBytes(c.controlPlane)
	if err != nil {
		c.t.Fatal(err)
	}

	changed, err := provider.PatchV1Alpha1(func(cfg *v1alpha1.Config) error {
		change(cfg)

		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}

	data, err := changed.Bytes()
	if err != nil {
		c.t.Fatal(err)
	}

	return data
}

// withLabel is a configuration that needs no reboot.
func (c *testCluster) withLabel(value string) []byte {
	return c.edit(func(cfg *v1alpha1.Config) {
		cfg.MachineConfig.MachineNodeLabels = map[string]string{"test": value}
	})
}

// withUdev is a configuration that needs a reboot.
func (c *testCluster) withUdev() []byte {
	return c.edit(func(cfg *v1alpha1.Config) {
		cfg.MachineConfig.MachineUdev = &v1alpha1.UdevConfig{UdevRules: []string{`SUBSYSTEM=="block"`}}
	})
}

func TestApplyModes(t *testing.T) {
	t.Parallel()

	address := testAddresses(1)[0]
	f := startFleet(t, t.TempDir(), []string{address})
	c := newCluster(t, "demo", address)
	c.provision([]string{address}, nil)

	n := nodeAt(f, address)

	for _, test := range []struct {
		name                       string
		mode, wantMode             applyMode
		data                       []byte
		wantDetails                string
		wantActive, wantPersistent []byte
		wantErr                    string
		wantReboot                 bool
	}{
		{
			name: "auto without a reboot", mode: modeAuto, data: c.withLabel("a"), wantMode: modeNoReboot,
			wantDetails: detailsNoReboot, wantActive: c.withLabel("a"), wantPersistent: c.withLabel("a"),
		},
		{
			name: "no-reboot refuses", mode: modeNoReboot, data: c.withUdev(),
			wantErr:    "this config change can't be applied in immediate mode",
			wantActive: c.withLabel("a"), wantPersistent: c.withLabel("a"),
		},
		{
			name: "staged", mode: modeStaged, data: c.withUdev(), wantMode: modeStaged,
			wantDetails: detailsStaged, wantActive: c.withLabel("a"), wantPersistent: c.withUdev(),
		},
		{
			name: "auto with a reboot", mode: modeAuto, data: c.withUdev(), wantMode: modeReboot, wantReboot: true,
			wantDetails: detailsReboot + ": this config change can't be", wantActive: c.withUdev(), wantPersistent: c.withUdev(),
		},
		{
			name: "reboot", mode: modeReboot, data: c.controlPlane, wantMode: modeReboot, wantReboot: true,
			wantDetails: detailsReboot, wantActive: c.controlPlane, wantPersistent: c.controlPlane,
		},
		{
			name: "invalid", mode: modeAuto, data: bytes.Replace(c.controlPlane, []byte("type: controlplane"), []byte("type: thing"), 1),
			wantErr: "thing", wantActive: c.controlPlane, wantPersistent: c.controlPlane,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bootID := bootIDOf(n)
			ctx, cl := c.admin(address)

			reply, err := apply(ctx, cl, test.data, test.mode)

			switch {
			case test.wantErr != "":
				wantCode(t, "apply", err, codes.InvalidArgument, test.wantErr)
			case err != nil:
				t.Fatal(err)
			case reply.GetMode() != test.wantMode || !strings.HasPrefix(reply.GetModeDetails(), test.wantDetails):
				t.Errorf("got mode %s and details %q", reply.GetMode(), reply.GetModeDetails())
			}

			if test.wantReboot {
				eventually(t, "a reboot", func() error {
					if bootIDOf(n) == bootID {
						return fmt.Errorf("the boot ID is the same")
					}

					return nil
				})
				c.waitSecure(address)
			}

			checkConfigs(t, n, test.wantActive, test.wantPersistent)
		})
	}
}

func bootIDOf(n *node) string {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	return n.record.BootID
}

// checkConfigs compares the running and the persistent configuration.
func checkConfigs(t *testing.T, n *node, active, persistent []byte) {
	t.Helper()

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	for _, check := range []struct {
		name string
		got  interface{ Bytes() ([]byte, error) }
		want []byte
	}{{"active", n.active, active}, {"persistent", n.persistent, persistent}} {
		got, err := check.got.Bytes()
		if err != nil || !bytes.Equal(got, check.want) {
			t.Errorf("the %s configuration is not the expected one (error %v)", check.name, err)
		}
	}
}

func TestTry(t *testing.T) {
	t.Parallel()

	address := testAddresses(1)[0]
	f := startFleet(t, t.TempDir(), []string{address})
	c := newCluster(t, "demo", address)
	c.provision([]string{address}, nil)

	n := nodeAt(f, address)
	ctx, cl := c.admin(address)

	try := func(timeout time.Duration) {
		t.Helper()

		reply, err := cl.ApplyConfiguration(ctx, &machine.ApplyConfigurationRequest{
			Data: c.withLabel("tried"), Mode: modeTry, TryModeTimeout: durationpb.New(timeout),
		})
		if err != nil {
			t.Fatal(err)
		}

		want := "automatically reverted back in " + timeout.String()
		if details := reply.GetMessages()[0].GetModeDetails(); !strings.HasSuffix(details, want) {
			t.Errorf("got details %q", details)
		}

		checkConfigs(t, n, c.withLabel("tried"), c.controlPlane)
	}

	try(300 * time.Millisecond)
	time.Sleep(900 * time.Millisecond)
	checkConfigs(t, n, c.controlPlane, c.controlPlane)

	// A dry run cancels the roll back, as with a real node.
	try(300 * time.Millisecond)

	if _, err := cl.ApplyConfiguration(ctx, &machine.ApplyConfigurationRequest{Data: c.controlPlane, DryRun: true}); err != nil {
		t.Fatal(err)
	}

	time.Sleep(400 * time.Millisecond)
	checkConfigs(t, n, c.withLabel("tried"), c.controlPlane)
}

func TestNewMachineCA(t *testing.T) {
	t.Parallel()

	address := testAddresses(1)[0]
	startFleet(t, t.TempDir(), []string{address})

	c := newCluster(t, "demo", address)
	c.provision([]string{address}, nil)

	other := newCluster(t, "demo", address)
	ctx, cl := c.admin(address)

	if _, err := apply(ctx, cl, other.controlPlane, modeReboot); err != nil {
		t.Fatal(err)
	}

	other.waitSecure(address)

	ctx, cl = c.admin(address)
	wantCode(t, "the former administrator", callVersion(ctx, cl), codes.Unavailable, "unknown authority")
}
