package main

import (
	"sync"

	"github.com/google/uuid"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// eventLog is what happened on a node since it booted.
type eventLog struct {
	mu      sync.Mutex
	past    []*machine.Event
	changed chan struct{}
	// ending: the index of the first event of the (first) sequence that is to
	// end this boot, or -1.
	ending int
}

func newEventLog() *eventLog {
	return &eventLog{changed: make(chan struct{}), ending: -1}
}

// add appends an event and wakes up who waits for it.
func (l *eventLog) add(actorID string, payload proto.Message) {
	event, err := newEvent(actorID, payload)
	if err != nil {
		return
	}

	l.mu.Lock()
	defer l.mu.Unlock()

	l.past = append(l.past, event)
	close(l.changed)
	l.changed = make(chan struct{})
}

// end notes that the next event is the first one of the end.
func (l *eventLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.ending < 0 {
		l.ending = len(l.past)
	}
}

// start is the index of the first event for somebody who wants the given
// number of past ones, all of them if negative. Who comes when the end has
// begun sees that from its beginning: talosctl asks for the reset first and for
// the events then, and a simulated node is quicker than a real one.
func (l *eventLog) start(tail int) int {
	l.mu.Lock()
	defer l.mu.Unlock()

	switch {
	case tail < 0:
		return 0
	case l.ending >= 0:
		return max(0, min(l.ending, len(l.past)-tail))
	default:
		return max(0, len(l.past)-tail)
	}
}

// from returns the events beginning with the one at an index, and a channel
// that closes when there are more.
func (l *eventLog) from(index int) ([]*machine.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.past[min(index, len(l.past)):], l.changed
}

// newEvent wraps a payload the way Talos does; without one it only says hello.
func newEvent(actorID string, payload proto.Message) (*machine.Event, error) {
	if payload == nil {
		return &machine.Event{Data: &anypb.Any{}}, nil
	}

	data, err := proto.Marshal(payload)
	if err != nil {
		return nil, err
	}

	return &machine.Event{
		Id:      uuid.NewString(),
		ActorId: actorID,
		Data:    &anypb.Any{TypeUrl: "talos/runtime/" + string(payload.ProtoReflect().Descriptor().FullName()), Value: data},
	}, nil
}
