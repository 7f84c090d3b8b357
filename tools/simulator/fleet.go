package main

import (
	"fmt"
	"io"
	"log"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/state"
)

// apiPort is where Talos's API listens, simulated or not.
const apiPort = 50000

// options are the flags of "serve".
type options struct {
	stateDir    string
	nodesFile   string
	rebootDelay time.Duration
	etcdDelay   time.Duration
}

// fleet is all simulated nodes of one process. Its mutex guards the fields of
// the nodes, too: nothing here is busy enough to deserve finer locks, and nodes
// of a cluster look at each other all the time.
type fleet struct {
	options

	log    *log.Logger
	faults *faultBook
	// definitions holds what every node's COSI state has in common.
	definitions state.CoreState

	mu     sync.Mutex
	nodes  map[netip.Addr]*node
	etcd   map[string]*etcdCluster
	closed bool
}

// newFleet prepares a fleet without nodes on a state directory.
func newFleet(opts options, logTo io.Writer) (*fleet, error) {
	f := &fleet{
		options: opts,
		log:     log.New(logTo, "", 0),
		nodes:   map[netip.Addr]*node{},
		etcd:    map[string]*etcdCluster{},
	}

	var err error

	if f.definitions, err = newDefinitions(); err != nil {
		return nil, err
	}

	if f.faults, err = openFaultBook(opts.stateDir, f.logf); err != nil {
		return nil, err
	}

	return f, readJSON(f.etcdFile(), &f.etcd)
}

// logf writes one line to the log.
func (f *fleet) logf(format string, args ...any) {
	f.log.Printf("%s "+format, append([]any{time.Now().UTC().Format("2006-01-02T15:04:05.000Z")}, args...)...)
}

// reconfigure makes the running nodes those of the inventory: new ones are
// switched on, missing ones are unplugged (their state stays on disk).
func (f *fleet) reconfigure(specs []nodeSpec) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	wanted := map[netip.Addr]nodeSpec{}
	for _, spec := range specs {
		wanted[spec.address] = spec
	}

	for address, n := range f.nodes {
		if _, keep := wanted[address]; !keep {
			f.logf("%s unplugged", address)
			n.unplug()
			delete(f.nodes, address)
		}
	}

	for _, spec := range specs {
		if n, known := f.nodes[spec.address]; known {
			n.spec = spec
			n.readActive()

			continue
		}

		n, err := newNode(f, spec)
		if err != nil {
			return fmt.Errorf("%s: %w", spec.address, err)
		}

		f.nodes[spec.address] = n

		if err = n.plugIn(); err != nil {
			n.unplug()
			delete(f.nodes, spec.address)

			return err
		}
	}

	f.settle()

	return nil
}

// close unplugs all nodes.
func (f *fleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.closed = true

	for _, n := range f.nodes {
		n.unplug()
	}
}

// sorted lists the nodes by address.
func (f *fleet) sorted() []*node {
	nodes := make([]*node, 0, len(f.nodes))
	for _, n := range f.nodes {
		nodes = append(nodes, n)
	}

	slices.SortFunc(nodes, func(a, b *node) int { return a.spec.address.Compare(b.spec.address) })

	return nodes
}

// settle lets the nodes react to a change of any of them: workers get their
// certificates, control planes join etcd, resources are brought up to date.
func (f *fleet) settle() {
	if f.closed {
		return
	}

	nodes := f.sorted()

	for _, n := range nodes {
		n.obtainCertificate()
	}

	for _, n := range nodes {
		n.joinEtcd()
	}

	for _, n := range nodes {
		n.publish()
	}
}

// after runs a function with the fleet locked, later, and settles.
func (f *fleet) after(delay time.Duration, do func()) *time.Timer {
	return time.AfterFunc(delay, func() {
		f.mu.Lock()
		defer f.mu.Unlock()

		if f.closed {
			return
		}

		do()
		f.settle()
	})
}

// watch keeps refused ports closed and notices pressed power buttons, until
// done is closed.
func (f *fleet) watch(done <-chan struct{}) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()

	seen := ""

	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}

		version := fileVersion(f.faults.path)

		f.mu.Lock()

		for _, n := range f.nodes {
			if version != seen {
				n.applyRefusal()
			}

			n.applyPowerButton()
		}

		f.mu.Unlock()

		seen = version
	}
}

// watchInterval is how often files that steer the nodes are looked at.
const watchInterval = 25 * time.Millisecond

func (f *fleet) etcdFile() string {
	return filepath.Join(f.stateDir, "etcd.json")
}

// remember reports a failure to write the state; the simulation goes on.
func (f *fleet) remember(err error) {
	if err != nil {
		f.logf("cannot remember the state: %v", err)
	}
}
