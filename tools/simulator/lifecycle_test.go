package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/client"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"github.com/siderolabs/talos/pkg/machinery/resources/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/network"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// wantCode checks an error's gRPC code and text.
func wantCode(t *testing.T, what string, err error, code codes.Code, text string) {
	t.Helper()

	if client.StatusCode(err) != code || (text != "" && !strings.Contains(fmt.Sprint(err), text)) {
		t.Errorf("%s: got %v, want %s with %q", what, err, code, text)
	}
}

func TestMaintenanceMode(t *testing.T) {
	t.Parallel()

	address := testAddresses(1)[0]
	f := startFleet(t, t.TempDir(), []string{address})
	c := newCluster(t, "demo", address)
	ctx, cl := insecure(t, address)

	reply, err := cl.Version(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if v := reply.GetMessages()[0]; v.GetPlatform().GetName() != simulated || v.GetVersion().GetSha() != simulated {
		t.Errorf("the version does not say that the node is simulated: %v", v)
	}

	link, err := safe.StateGetByID[*network.LinkStatus](ctx, cl.COSI, linkName)
	if err != nil {
		t.Fatal(err)
	}

	if spec := link.TypedSpec(); !spec.Physical() || spec.HardwareAddr.String() != nodeAt(f, address).spec.mac.String() {
		t.Errorf("unexpected link %v", spec)
	}

	_, err = safe.StateGetByID[*config.MachineConfig](ctx, cl.COSI, config.ActiveID)
	wantCode(t, "machine config", err, codes.PermissionDenied, "not authorized")

	wantCode(t, "bootstrap", cl.Bootstrap(ctx, &machine.BootstrapRequest{}), codes.PermissionDenied, "not authorized")

	_, err = cl.Memory(ctx)
	wantCode(t, "memory", err, codes.Unimplemented, "")

	_, err = apply(ctx, cl, []byte("version: v1alpha1\nmachine:\n  type: worker\n"), modeAuto)
	wantCode(t, "incomplete config", err, codes.InvalidArgument, "cluster instructions are required")

	_, err = apply(ctx, cl, []byte("no: config\n"), modeAuto)
	wantCode(t, "no config", err, codes.InvalidArgument, "")

	dry, err := cl.ApplyConfiguration(ctx, &machine.ApplyConfigurationRequest{Data: c.controlPlane, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}

	if details := dry.GetMessages()[0].GetModeDetails(); !strings.HasPrefix(details, "Dry run summary:\n"+detailsNoReboot) {
		t.Errorf("unexpected dry run: %q", details)
	}

	if nodeAt(f, address).active != nil {
		t.Error("the dry run was applied")
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()

	addresses := testAddresses(4)
	dir := t.TempDir()
	f := startFleet(t, dir, addresses)
	c := newCluster(t, "demo", addresses[0])

	// A worker has no certificate until a control plane is there.
	ctx, cl := insecure(t, addresses[3])
	if _, err := apply(ctx, cl, c.worker, modeAuto); err != nil {
		t.Fatal(err)
	}

	eventually(t, "the worker waits", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()

		if p := f.nodes[nodeSpecAddress(addresses[3])].phase; p != phaseWaiting {
			return fmt.Errorf("it is %s", p)
		}

		return nil
	})

	c.provision(addresses[:3], nil)
	c.waitSecure(addresses[3])

	first, admin := c.admin(addresses[0])

	impatient, cancel := context.WithTimeout(first, 300*time.Millisecond)
	_, err := admin.EtcdMemberList(impatient, &machine.EtcdMemberListRequest{})
	cancel()
	wantCode(t, "members before bootstrap", err, codes.DeadlineExceeded, "")

	worker, workerClient := c.admin(addresses[3])
	wantCode(t, "bootstrap of a worker", workerClient.Bootstrap(worker, &machine.BootstrapRequest{}),
		codes.Unimplemented, "bootstrap is only available on control plane nodes")

	if err = admin.Bootstrap(first, &machine.BootstrapRequest{}); err != nil {
		t.Fatal(err)
	}

	wantCode(t, "second bootstrap", admin.Bootstrap(first, &machine.BootstrapRequest{}),
		codes.AlreadyExists, "etcd data directory is not empty")

	for _, address := range addresses[:3] {
		c.waitMembers(address, 3)
	}

	members, err := safe.StateListAll[*cluster.Member](worker, workerClient.COSI)
	if err != nil || members.Len() != 4 {
		t.Errorf("got %d cluster members and error %v, want 4", members.Len(), err)
	}

	c.checkConfigBytes(addresses[1])
	c.checkKubeconfig(addresses[2])
	c.checkRoles(addresses[0])
	checkStrangers(t, addresses[0])
	checkFileModes(t, dir)
}

// waitMembers waits for a number of etcd members as one node sees them.
func (c *testCluster) waitMembers(address string, want int) {
	c.t.Helper()

	eventually(c.t, "etcd members at "+address, func() error {
		ctx, cl := c.admin(address)

		reply, err := cl.EtcdMemberList(ctx, &machine.EtcdMemberListRequest{})
		if err != nil {
			return err
		}

		if got := len(reply.GetMessages()[0].GetMembers()); got != want {
			return fmt.Errorf("got %d, want %d", got, want)
		}

		return nil
	})
}

// checkConfigBytes reads the configuration back, byte for byte.
func (c *testCluster) checkConfigBytes(address string) {
	c.t.Helper()

	ctx, cl := c.admin(address)

	for _, id := range []string{config.ActiveID, config.PersistentID} {
		res, err := safe.StateGetByID[*config.MachineConfig](ctx, cl.COSI, id)
		if err != nil {
			c.t.Error(err)

			continue
		}

		if got, err := res.Provider().Bytes(); err != nil || !bytes.Equal(got, c.controlPlane) {
			c.t.Errorf("machine config %s is not what was applied (error %v)", id, err)
		}
	}
}

// checkKubeconfig downloads the kubeconfig.
func (c *testCluster) checkKubeconfig(address string) {
	c.t.Helper()

	ctx, cl := c.admin(address)

	kubeconfig, err := cl.Kubeconfig(ctx)
	if err != nil {
		c.t.Error(err)
	}

	for _, want := range []string{"admin@demo", "server: https://", "client-key-data: ", "current-context: "} {
		if !bytes.Contains(kubeconfig, []byte(want)) {
			c.t.Errorf("the kubeconfig lacks %q", want)
		}
	}
}

// checkRoles calls methods with roles that do and do not suffice.
func (c *testCluster) checkRoles(address string) {
	c.t.Helper()

	for _, test := range []struct {
		name string
		role role.Role
		call func(context.Context, *client.Client) error
		want codes.Code
	}{
		{"reader version", role.Reader, callVersion, codes.OK},
		{"reader apply", role.Reader, callApply, codes.PermissionDenied},
		{"operator apply", role.Operator, callApply, codes.PermissionDenied},
		{"reader config", role.Reader, callConfig, codes.PermissionDenied},
		{"operator config", role.Operator, callConfig, codes.PermissionDenied},
		{"admin config", role.Admin, callConfig, codes.OK},
		{"reader snapshot", role.Reader, callSnapshot, codes.PermissionDenied},
		{"backup snapshot", role.EtcdBackup, callSnapshot, codes.OK},
		{"backup version", role.EtcdBackup, callVersion, codes.PermissionDenied},
	} {
		ctx, cl := c.as(address, test.role)
		wantCode(c.t, test.name, test.call(ctx, cl), test.want, "")
	}
}

func callVersion(ctx context.Context, cl *client.Client) error {
	_, err := cl.Version(ctx)

	return err
}

func callApply(ctx context.Context, cl *client.Client) error {
	_, err := apply(ctx, cl, nil, modeAuto)

	return err
}

func callConfig(ctx context.Context, cl *client.Client) error {
	_, err := safe.StateGetByID[*config.MachineConfig](ctx, cl.COSI, config.ActiveID)

	return err
}

func callSnapshot(ctx context.Context, cl *client.Client) error {
	reader, err := cl.EtcdSnapshot(ctx, &machine.EtcdSnapshotRequest{})
	if err != nil {
		return err
	}

	data, err := io.ReadAll(reader)
	if err == nil && !bytes.Contains(data, []byte("simulated etcd snapshot")) {
		return status.Error(codes.DataLoss, "the snapshot does not say that it is simulated")
	}

	return err
}

// checkStrangers tries to get in without the cluster's certificate.
func checkStrangers(t *testing.T, address string) {
	t.Helper()

	ctx, cl := insecure(t, address)
	wantCode(t, "without a certificate", callVersion(ctx, cl), codes.Unavailable, "certificate required")

	ctx, cl = newCluster(t, "other", address).admin(address)
	wantCode(t, "with a foreign certificate", callVersion(ctx, cl), codes.Unavailable, "certificate signed by unknown authority")
}

// checkFileModes makes sure that nobody else can read the state.
func checkFileModes(t *testing.T, dir string) {
	t.Helper()

	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}

	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}

		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", entry.Name(), info.Mode())
		}

		if entry.IsDir() {
			checkFileModes(t, dir+"/"+entry.Name())
		}
	}
}

func TestForwarding(t *testing.T) {
	t.Parallel()

	addresses := testAddresses(3)
	startFleet(t, t.TempDir(), addresses)

	c := newCluster(t, "demo", addresses[0])
	c.provision(addresses[:1], addresses[1:2])

	ctx, cl := c.admin(addresses[0])

	reply, err := cl.Version(client.WithNodes(ctx, addresses[0], addresses[1]))
	if err != nil || len(reply.GetMessages()) != 2 || reply.GetMessages()[1].GetMetadata().GetHostname() != addresses[1] {
		t.Errorf("got %v and error %v, want two answers", reply, err)
	}

	_, err = cl.Version(client.WithNodes(ctx, addresses[2]))
	wantCode(t, "forward to maintenance mode", err, codes.Unavailable, "certificate signed by unknown authority")

	_, err = cl.Version(client.WithNode(ctx, "127.255.0.1"))
	wantCode(t, "forward to nowhere", err, codes.Unavailable, "connection refused")

	ctx, cl = c.admin(addresses[1])

	_, err = cl.Version(client.WithNode(ctx, addresses[0]))
	wantCode(t, "forward by a worker", err, codes.PermissionDenied, "no request forwarding")
}

func TestReset(t *testing.T) {
	t.Parallel()

	addresses := testAddresses(3)
	f := startFleet(t, t.TempDir(), addresses)

	c := newCluster(t, "demo", addresses[0])
	c.provision(addresses, nil)

	ctx, cl := c.admin(addresses[0])
	if err := cl.Bootstrap(ctx, &machine.BootstrapRequest{}); err != nil {
		t.Fatal(err)
	}

	c.waitMembers(addresses[0], 3)

	third, thirdClient := c.admin(addresses[2])
	if err := thirdClient.Reset(third, true, true); err != nil {
		t.Fatal(err)
	}

	waitMaintenance(t, addresses[2])
	c.waitMembers(addresses[0], 2)

	// Without grace, the member stays behind; a new node of the same name
	// takes its place.
	second, secondClient := c.admin(addresses[1])
	if err := secondClient.Reset(second, false, true); err != nil {
		t.Fatal(err)
	}

	waitMaintenance(t, addresses[1])
	wantCode(t, "members without quorum", membersError(c, addresses[0]), codes.Unavailable, "no leader")

	if got := len(nodeAt(f, addresses[0]).etcdCluster().Members); got != 2 {
		t.Errorf("got %d members, want 2", got)
	}
}

func membersError(c *testCluster, address string) error {
	ctx, cl := c.admin(address)
	_, err := cl.EtcdMemberList(ctx, &machine.EtcdMemberListRequest{})

	return err
}

// waitMaintenance waits until a node answers without certificates.
func waitMaintenance(t *testing.T, address string) {
	t.Helper()

	eventually(t, address+" is in maintenance mode", func() error {
		ctx, cl := insecure(t, address)

		return callVersion(ctx, cl)
	})
}

func TestResetOfTheOnlyMember(t *testing.T) {
	t.Parallel()

	address := testAddresses(1)[0]
	f := startFleet(t, t.TempDir(), []string{address})

	c := newCluster(t, "demo", address)
	c.provision([]string{address}, nil)

	ctx, cl := c.admin(address)
	if err := cl.Bootstrap(ctx, &machine.BootstrapRequest{}); err != nil {
		t.Fatal(err)
	}

	c.waitMembers(address, 1)

	if err := cl.Reset(ctx, true, true); err != nil {
		t.Fatal(err)
	}

	time.Sleep(sequenceDelay + 100*time.Millisecond)

	if !nodeAt(f, address).configured() {
		t.Error("the only etcd member cannot leave, but the node was reset")
	}

	if err := cl.Reset(ctx, false, false); err != nil {
		t.Fatal(err)
	}

	eventually(t, "the node is off", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()

		if n := f.nodes[nodeSpecAddress(address)]; !n.record.Off {
			return fmt.Errorf("it is %s", n.phase)
		}

		return nil
	})

	if err := os.WriteFile(nodeAt(f, address).path(powerOnFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	waitMaintenance(t, address)
}

func TestRestartRemembers(t *testing.T) {
	t.Parallel()

	addresses := testAddresses(2)
	dir := t.TempDir()
	f := startFleet(t, dir, addresses)

	c := newCluster(t, "demo", addresses[0])
	c.provision(addresses[:1], nil)

	ctx, cl := c.admin(addresses[0])
	if err := cl.Bootstrap(ctx, &machine.BootstrapRequest{}); err != nil {
		t.Fatal(err)
	}

	c.waitMembers(addresses[0], 1)

	if _, err := apply(ctx, cl, c.withLabel("staged"), modeStaged); err != nil {
		t.Fatal(err)
	}

	bootID := nodeAt(f, addresses[0]).record.BootID

	f.close()

	f = startFleet(t, dir, addresses)
	n := nodeAt(f, addresses[0])

	c.waitMembers(addresses[0], 1)
	wantCode(t, "bootstrap after the restart", bootstrap(c, addresses[0]), codes.AlreadyExists, "")
	waitMaintenance(t, addresses[1])

	if n.record.BootID != bootID {
		t.Error("the end of the process counted as a reboot")
	}

	active, _ := n.active.Bytes()         //nolint:errcheck // compared below
	persistent, _ := n.persistent.Bytes() //nolint:errcheck // compared below

	if !bytes.Equal(active, c.controlPlane) || !bytes.Equal(persistent, c.withLabel("staged")) {
		t.Error("the staged configuration was lost or applied")
	}
}

func bootstrap(c *testCluster, address string) error {
	ctx, cl := c.admin(address)

	return cl.Bootstrap(ctx, &machine.BootstrapRequest{})
}
