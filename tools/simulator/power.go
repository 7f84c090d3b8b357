package main

import (
	"time"

	"github.com/google/uuid"
)

// newBoot notes a boot.
func (n *node) newBoot() {
	n.record.BootID = uuid.NewString()
	n.record.BootedAt = time.Now().UTC()

	if n.record.NextTalos != nil {
		n.record.Talos, n.record.NextTalos = n.record.NextTalos, nil
	}

	if n.record.Etcd != nil {
		n.record.Etcd.ReadyAt = n.record.BootedAt.Add(n.fleet.options.rebootDelay + n.fleet.etcdDelay)
	}

	n.save()
}

// leaveDelay is how long the API still answers after it acknowledged something
// that ends it. On a real machine this is the time until services stop.
const leaveDelay = 150 * time.Millisecond

// sequenceDelay is leaveDelay for a reboot, shutdown or reset that was asked
// for: long enough for talosctl to begin to watch it.
const sequenceDelay = 400 * time.Millisecond

// reboot stops the node shortly after now and boots it again, with the effect
// in between. It returns at once.
func (n *node) reboot(delay time.Duration, effect func()) {
	n.leave(delay, func() {
		n.forgetRunning(effect)
		n.comeBack()
	})
}

// moveOn takes a node that got its first configuration from maintenance mode
// to the secure API. A configuration that is only tried survives, as there is
// no reboot then.
func (n *node) moveOn() {
	n.leave(leaveDelay, func() {
		if n.persistent != nil {
			n.install()
			n.newBoot()
		}

		n.comeBack()
	})
}

// shutdown switches the node off shortly after now, with the effect on the way.
func (n *node) shutdown(effect func()) {
	n.leave(sequenceDelay, func() {
		n.forgetRunning(effect)

		n.phase = phaseOff
		n.record.Off = true
		n.save()
	})
}

// leave closes the API shortly after now and goes on with what is next.
func (n *node) leave(delay time.Duration, next func()) {
	generation := n.generation

	n.fleet.after(delay, func() {
		if n.generation != generation {
			return
		}

		n.fleet.logf("%s goes down (simulated)", n.spec.address)
		n.generation++
		n.phase = phaseDown
		n.shutEndpoint()
		next()
	})
}

// forgetRunning does what a reboot does to the configuration: the persistent
// one is the running one afterwards.
func (n *node) forgetRunning(effect func()) {
	n.cancelTry()

	if effect != nil {
		effect()
	}

	n.setActive(n.persistent)
	n.newBoot()
}

// comeBack opens the API after the time a reboot takes.
func (n *node) comeBack() {
	generation := n.generation

	n.fleet.after(n.rebootDelay(), func() {
		if n.generation == generation {
			n.powerOn()
		}
	})
}

// rebootDelay is how long this reboot takes.
func (n *node) rebootDelay() time.Duration {
	if seconds, slow := n.fleet.faults.slowReboot(n.spec.address); slow {
		return seconds
	}

	return n.fleet.options.rebootDelay
}

// powerOn boots a node that is down or off.
func (n *node) powerOn() {
	if n.record.Off {
		n.record.Off = false
		n.newBoot()
	}

	if err := n.start(); err != nil {
		n.fleet.logf("%s: %v", n.spec.address, err)
	}
}

// applyPowerButton boots a node that is off if the file "power-on" is there.
func (n *node) applyPowerButton() {
	if n.phase != phaseOff || !n.record.Off {
		return
	}

	if data, err := readOptional(n.path(powerOnFile)); err != nil || data == nil {
		return
	}

	n.fleet.remember(removeFile(n.path(powerOnFile)))
	n.powerOn()
	n.fleet.settle()
}
