package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/client"
	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	machinetype "github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"
)

// testSubnet gives every test its own loopback addresses, and every process
// running the tests, too.
var testSubnet atomic.Int32

// testAddresses returns unused loopback addresses.
func testAddresses(count int) []string {
	subnet := testSubnet.Add(1)
	addresses := make([]string, count)

	for i := range addresses {
		addresses[i] = fmt.Sprintf("127.%d.%d.%d", 64+os.Getpid()%128, subnet, 11+i)
	}

	return addresses
}

// testOptions are the flags of a quick fleet.
func testOptions(dir string) options {
	return options{stateDir: dir, rebootDelay: 50 * time.Millisecond, etcdDelay: 50 * time.Millisecond}
}

// startFleet runs simulated nodes until the test ends.
func startFleet(t *testing.T, dir string, addresses []string) *fleet {
	t.Helper()

	f, err := newFleet(testOptions(dir), io.Discard)
	if err != nil {
		t.Fatal(err)
	}

	var specs []nodeSpec

	for _, address := range addresses {
		spec, err := nodeEntry{Address: address}.spec()
		if err != nil {
			t.Fatal(err)
		}

		specs = append(specs, spec)
	}

	if err = f.reconfigure(specs); err != nil {
		t.Fatal(err)
	}

	done := make(chan struct{})

	go f.watch(done)

	t.Cleanup(func() {
		f.close()
		close(done)
	})

	return f
}

// testCluster is the configurations and the clients of one Talos cluster.
type testCluster struct {
	t            *testing.T
	bundle       *secrets.Bundle
	controlPlane []byte
	worker       []byte
}

// newCluster generates a cluster's configurations.
func newCluster(t *testing.T, name, endpoint string) *testCluster {
	t.Helper()

	bundle, err := secrets.NewBundle(secrets.NewClock(), nil)
	if err != nil {
		t.Fatal(err)
	}

	c := &testCluster{t: t, bundle: bundle}

	input, err := generate.NewInput(name, "https://"+endpoint+":6443", constants.DefaultKubernetesVersion,
		generate.WithSecretsBundle(bundle), generate.WithInstallDisk("/dev/vda"))
	if err != nil {
		t.Fatal(err)
	}

	for kind, data := range map[machinetype.Type]*[]byte{
		machinetype.TypeControlPlane: &c.controlPlane, machinetype.TypeWorker: &c.worker,
	} {
		provider, err := input.Config(kind)
		if err != nil {
			t.Fatal(err)
		}

		if *data, err = provider.Bytes(); err != nil {
			t.Fatal(err)
		}
	}

	return c
}

// as returns a client with the roles, for one node.
func (c *testCluster) as(address string, roles ...role.Role) (context.Context, *client.Client) {
	c.t.Helper()

	pair, err := c.bundle.GenerateTalosAPIClientCertificate(role.MakeSet(roles...))
	if err != nil {
		c.t.Fatal(err)
	}

	config := clientconfig.NewConfig("test", []string{address}, c.bundle.Certs.OS.Crt, pair)

	return dial(c.t, client.WithConfig(config))
}

// admin is as with the role that may do everything.
func (c *testCluster) admin(address string) (context.Context, *client.Client) {
	c.t.Helper()

	return c.as(address, role.Admin)
}

// insecure returns a client without a certificate.
func insecure(t *testing.T, address string) (context.Context, *client.Client) {
	t.Helper()

	return dial(t, client.WithTLSConfig(&tls.Config{InsecureSkipVerify: true}), client.WithEndpoints(address)) //nolint:gosec // maintenance mode
}

// dial connects until the test ends; calls take a few seconds at most.
func dial(t *testing.T, opts ...client.OptionFunc) (context.Context, *client.Client) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)

	c, err := client.New(ctx, append(opts, client.WithDefaultGRPCDialOptions())...)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { c.Close() }) //nolint:errcheck // the test is over

	return ctx, c
}

// apply sends a configuration and returns the answer.
func apply(ctx context.Context, c *client.Client, data []byte, mode applyMode) (*machine.ApplyConfiguration, error) {
	reply, err := c.ApplyConfiguration(ctx, &machine.ApplyConfigurationRequest{Data: data, Mode: mode})
	if err != nil {
		return nil, err
	}

	return reply.GetMessages()[0], nil
}

// provision configures nodes from maintenance mode and waits for their secure
// API: the first ones as control planes, the last ones as workers.
func (c *testCluster) provision(controlPlanes, workers []string) {
	c.t.Helper()

	for i, address := range append(append([]string{}, controlPlanes...), workers...) {
		data := c.controlPlane
		if i >= len(controlPlanes) {
			data = c.worker
		}

		ctx, cl := insecure(c.t, address)

		if _, err := apply(ctx, cl, data, modeAuto); err != nil {
			c.t.Fatalf("apply to %s: %v", address, err)
		}
	}

	for _, address := range append(append([]string{}, controlPlanes...), workers...) {
		c.waitSecure(address)
	}
}

// waitSecure waits until a node answers the cluster's administrator.
func (c *testCluster) waitSecure(address string) {
	c.t.Helper()

	eventually(c.t, address+" answers securely", func() error {
		ctx, cl := c.admin(address)
		_, err := cl.Version(ctx)

		return err
	})
}

// eventually repeats a check until it passes.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()

	var err error

	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}

	t.Fatalf("%s: %v", what, err)
}

// writeFaults writes a faults file the way a test script would.
func writeFaults(t *testing.T, dir string, faults map[string][]map[string]any) {
	t.Helper()

	data, err := json.Marshal(faults)
	if err != nil {
		t.Fatal(err)
	}

	if err = os.WriteFile(filepath.Join(dir, "faults.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// nodeAt returns a node for a look behind the scenes.
func nodeAt(f *fleet, address string) *node {
	f.mu.Lock()
	defer f.mu.Unlock()

	return f.nodes[netip.MustParseAddr(address)]
}

// nodeSpecAddress is an address as the fleet's key.
func nodeSpecAddress(address string) netip.Addr {
	return netip.MustParseAddr(address)
}
