package main

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
)

// Reset implements machine.MachineService.
func (s *machineService) Reset(_ context.Context, in *machine.ResetRequest) (*machine.ResetResponse, error) {
	n := s.node
	actor := uuid.NewString()

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	reply := &machine.ResetResponse{Messages: []*machine.Reset{{ActorId: actor}}}

	if in.GetGraceful() && n.etcdReady() {
		if err := n.leaveEtcd(); err != nil {
			// As with a real node, the caller learns this from the events only.
			n.announceFailure(actor, "reset", err)

			return reply, nil
		}
	}

	n.announce(actor, "reset")

	effect := func() { n.wipe(in) }
	if in.GetReboot() {
		n.reboot(sequenceDelay, effect)
	} else {
		n.shutdown(effect)
	}

	n.fleet.settle()

	return reply, nil
}

// wipes tells whether a reset reaches a partition of the system disk.
func wipes(in *machine.ResetRequest, label string) bool {
	if in.GetMode() == machine.ResetRequest_USER_DISKS {
		return false
	}

	if len(in.GetSystemPartitionsToWipe()) == 0 {
		return true
	}

	return slices.ContainsFunc(in.GetSystemPartitionsToWipe(), func(partition *machine.ResetPartitionSpec) bool {
		return partition.GetWipe() && partition.GetLabel() == label
	})
}

// wipe forgets what stands on the partitions that a reset reaches; of the whole
// system disk, Talos itself, too.
func (n *node) wipe(in *machine.ResetRequest) {
	if in.GetMode() != machine.ResetRequest_USER_DISKS && len(in.GetSystemPartitionsToWipe()) == 0 {
		n.record.Talos = nil
		n.save()
	}

	if wipes(in, constants.StatePartitionLabel) {
		n.setPersistent(nil)
	}

	if wipes(in, constants.EphemeralPartitionLabel) {
		n.record.Etcd = nil
		n.save()
	}
}
