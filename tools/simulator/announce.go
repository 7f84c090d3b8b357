package main

import (
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/grpc/status"
)

// Events implements machine.MachineService: what happened since the boot if
// asked for, then what happens.
func (s *machineService) Events(in *machine.EventsRequest, stream machine.MachineService_EventsServer) error {
	s.node.fleet.mu.Lock()
	events := s.node.events
	s.node.fleet.mu.Unlock()

	hello, err := newEvent("", nil)
	if err != nil {
		return err
	}

	if err = stream.Send(hello); err != nil {
		return err
	}

	next := events.start(int(in.GetTailEvents()))

	for {
		news, changed := events.from(next)
		next += len(news)

		for _, event := range news {
			if err = stream.Send(event); err != nil {
				return err
			}
		}

		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-changed:
		}
	}
}

// announceFailure tells watchers that nothing came of a sequence.
func (n *node) announceFailure(actor, sequence string, failure error) {
	n.fleet.logf("%s: %s failed: %v (simulated)", n.spec.address, sequence, failure)
	n.events.end()
	n.events.add(actor, &machine.SequenceEvent{Sequence: sequence, Action: machine.SequenceEvent_START})
	n.events.add(actor, &machine.SequenceEvent{
		Sequence: sequence,
		Action:   machine.SequenceEvent_NOOP,
		Error:    &common.Error{Code: common.Code_FATAL, Message: failure.Error()},
	})
}

// announce tells watchers what a node is about to do. A real node announces the
// sequence of a reboot, too; talosctl then connects anew after a second, and
// would miss the whole of a reboot that takes less.
func (n *node) announce(actor, sequence string) {
	n.events.end()

	if sequence != "reboot" {
		n.events.add(actor, &machine.SequenceEvent{Sequence: sequence, Action: machine.SequenceEvent_START})
		n.events.add(actor, &machine.TaskEvent{Task: "stopAllServices", Action: machine.TaskEvent_START})
	}

	n.setStage(map[string]machineStage{
		"reboot": stageRebooting, "shutdown": stageShuttingDown, "reset": stageResetting,
	}[sequence])
}
