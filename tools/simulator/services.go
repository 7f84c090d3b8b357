package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ServiceList implements machine.MachineService.
func (s *machineService) ServiceList(context.Context, *emptypb.Empty) (*machine.ServiceListResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	list := &machine.ServiceList{}
	for _, service := range n.runningServices() {
		list.Services = append(list.Services, service.asProto(n.record.BootedAt))
	}

	return &machine.ServiceListResponse{Messages: []*machine.ServiceList{list}}, nil
}

// simService is the state of one of a node's services.
type simService struct {
	id      string
	running bool
	// unknown: there is no health check, or it has not run yet.
	unknown bool
}

// runningServices lists what runs on a node.
func (n *node) runningServices() []simService {
	services := []simService{
		{id: "apid", running: true}, {id: "auditd", running: true}, {id: "containerd", running: true},
		{id: "machined", running: true}, {id: "syslogd", running: true}, {id: "udevd", running: true},
	}

	if !n.configured() {
		return services
	}

	services = append(services, simService{id: "cri", running: true}, simService{id: "kubelet", running: true})

	if n.isControlPlane() {
		ready := n.etcdReady()
		services = append(services, simService{id: "etcd", running: ready, unknown: !ready}, simService{id: "trustd", running: true})
	}

	slices.SortFunc(services, func(a, b simService) int { return strings.Compare(a.id, b.id) })

	return services
}

// asProto is the service as the API shows it.
func (s simService) asProto(since time.Time) *machine.ServiceInfo {
	state, message := "Running", "Started task (simulated)"
	if !s.running {
		state, message = "Preparing", "Running pre state (simulated)"
	}

	changed := timestamppb.New(since)

	return &machine.ServiceInfo{
		Id:     s.id,
		State:  state,
		Events: &machine.ServiceEvents{Events: []*machine.ServiceEvent{{Msg: message, State: state, Ts: changed}}},
		Health: &machine.ServiceHealth{Unknown: s.unknown, Healthy: !s.unknown, LastChange: changed},
	}
}
