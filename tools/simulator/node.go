package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	talosconfig "github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
)

// phase is how far a node has come up.
type phase int

const (
	// phaseOff: switched off, nothing answers.
	phaseOff phase = iota
	// phaseDown: between two boots, nothing answers.
	phaseDown
	// phaseMaintenance: no configuration, the insecure API answers.
	phaseMaintenance
	// phaseWaiting: a worker that no control plane has given a certificate
	// yet, nothing answers.
	phaseWaiting
	// phaseSecure: configured, the API answers known clients.
	phaseSecure
)

// String is the word for the log.
func (p phase) String() string {
	return [...]string{"off", "down", "maintenance", "waiting", "secure"}[p]
}

// node is one simulated machine. Methods expect the fleet to be locked unless
// they say otherwise.
type node struct {
	fleet *fleet
	spec  nodeSpec
	dir   string

	record     record
	active     talosconfig.Provider
	persistent talosconfig.Provider
	rollback   *time.Timer

	// hostname and clusterKey follow from the running configuration.
	hostname   string
	clusterKey string

	phase phase
	// generation counts boots and shutdowns; timers of an earlier one are void.
	generation int
	identity   *identity
	endpoint   *endpoint
	resources  state.State
	events     *eventLog
	joining    bool

	// stage overrides the stage the node would show.
	stage machineStage
	// announced is the machine status that watchers were told last.
	announced string
	// published is what resources hold.
	published map[string]resource.Resource
}

// newNode loads what a node remembers.
func newNode(f *fleet, spec nodeSpec) (*node, error) {
	n := &node{fleet: f, spec: spec, dir: filepath.Join(f.stateDir, spec.address.String())}

	if err := makeDir(n.dir); err != nil {
		return nil, err
	}

	if err := readJSON(n.path(recordFile), &n.record); err != nil {
		return nil, err
	}

	var err error

	if n.persistent, err = n.loadConfig(persistentFile); err != nil {
		return nil, err
	}

	if n.active, err = n.loadConfig(activeFile); err != nil {
		return nil, err
	}

	n.readActive()

	return n, nil
}

// loadConfig reads a remembered machine configuration; a missing one is nil.
func (n *node) loadConfig(name string) (talosconfig.Provider, error) {
	data, err := readOptional(n.path(name))
	if err != nil || data == nil {
		return nil, err
	}

	provider, err := configloader.NewFromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.path(name), err)
	}

	return provider, nil
}

func (n *node) path(name string) string {
	return filepath.Join(n.dir, name)
}

// save remembers the record.
func (n *node) save() {
	n.fleet.remember(writeJSON(n.path(recordFile), n.record))
}

// saveConfig remembers a machine configuration, or that there is none.
func (n *node) saveConfig(name string, provider talosconfig.Provider) {
	if provider == nil {
		n.fleet.remember(removeFile(n.path(name)))

		return
	}

	data, err := provider.Bytes()
	if err == nil {
		err = writeFile(n.path(name), data)
	}

	n.fleet.remember(err)
}

// setActive changes the running configuration.
func (n *node) setActive(provider talosconfig.Provider) {
	n.active = provider
	n.saveConfig(activeFile, provider)
	n.readActive()

	if n.phase == phaseSecure && n.configured() {
		n.renewIdentity()
	}
}

// readActive takes from the running configuration what is needed often.
func (n *node) readActive() {
	n.hostname = n.findHostname()
	n.clusterKey = n.findClusterKey()
}

// setPersistent changes the configuration of the next boot.
func (n *node) setPersistent(provider talosconfig.Provider) {
	n.persistent = provider
	n.saveConfig(persistentFile, provider)
}

// configured tells whether the running configuration is enough to leave
// maintenance mode.
func (n *node) configured() bool {
	return n.active != nil && n.active.CompleteForBoot()
}

// isControlPlane tells the role by the running configuration.
func (n *node) isControlPlane() bool {
	return n.configured() && n.active.Machine().Type().IsControlPlane()
}

// plugIn brings a node up as it was when the process ended; that is no boot.
func (n *node) plugIn() error {
	if n.record.BootID == "" {
		n.newBoot()
	}

	if n.record.Off {
		n.phase = phaseOff

		return nil
	}

	n.resumeTry()

	return n.start()
}

// unplug stops a node without any effect on what it remembers.
func (n *node) unplug() {
	n.generation++
	n.phase = phaseOff
	n.shutEndpoint()
	n.stopRollback()
}

// start opens the API that fits the running configuration.
func (n *node) start() error {
	n.generation++
	n.joining = false
	n.resources = newResources(n.fleet.definitions)
	n.events = newEventLog()
	n.published = nil
	n.announced = ""
	n.stage = runtime.MachineStageUnknown

	var err error

	if n.configured() {
		err = n.startSecure()
	} else {
		err = n.startMaintenance()
	}

	if err != nil {
		return err
	}

	n.fleet.logf("%s is %s (simulated)", n.spec.address, n.phase)

	return nil
}

// startMaintenance opens the insecure API with a certificate of this boot.
func (n *node) startMaintenance() error {
	id, fingerprint, err := newMaintenanceIdentity(n.spec.address)
	if err != nil {
		return err
	}

	if err = writeFile(n.path(fingerprintFile), []byte(fingerprint+"\n")); err != nil {
		return err
	}

	n.identity = id
	n.phase = phaseMaintenance

	return n.openEndpoint()
}

// startSecure opens the API of a configured node, at once if it can issue its
// own certificate, else as soon as a control plane does.
func (n *node) startSecure() error {
	n.fleet.remember(removeFile(n.path(fingerprintFile)))
	n.phase = phaseWaiting

	n.startEtcd()

	if !n.renewIdentity() {
		return nil
	}

	n.phase = phaseSecure

	return n.openEndpoint()
}

// obtainCertificate lets a waiting node try again.
func (n *node) obtainCertificate() {
	if n.phase != phaseWaiting || !n.renewIdentity() {
		return
	}

	n.phase = phaseSecure

	if err := n.openEndpoint(); err != nil {
		n.fleet.logf("%s: %v", n.spec.address, err)

		return
	}

	n.fleet.logf("%s is %s (simulated)", n.spec.address, n.phase)
}

// renewIdentity issues the node's certificate anew. It returns false if nobody
// can; the old certificate then stays.
func (n *node) renewIdentity() bool {
	security := n.active.Machine().Security()
	issuer := security

	if !canIssue(security) {
		controlPlane := n.trustd()
		if controlPlane == nil {
			return false
		}

		issuer = controlPlane.active.Machine().Security()
	}

	id, err := newSecureIdentity(n.spec.address, n.hostname, security.CertSANs(), issuer.IssuingCA(), acceptedCAs(security))
	if err != nil {
		n.fleet.logf("%s cannot have a certificate: %v", n.spec.address, err)

		return false
	}

	n.identity = id

	return true
}
