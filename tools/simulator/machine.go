package main

import (
	"context"

	"github.com/google/uuid"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/version"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// machineService is a node's main API. What it leaves out is answered with
// "Unimplemented". Its methods lock the fleet.
type machineService struct {
	machine.UnimplementedMachineServiceServer

	node *node
}

// simulated marks every answer that says what a node is.
const simulated = "simulated"

// requireControlPlane refuses calls that only control planes answer.
func (n *node) requireControlPlane(api string) error {
	if !n.isControlPlane() {
		return status.Errorf(codes.Unimplemented, "%s is only available on control plane nodes", api)
	}

	return nil
}

// Version implements machine.MachineService.
func (s *machineService) Version(context.Context, *emptypb.Empty) (*machine.VersionResponse, error) {
	s.node.fleet.mu.Lock()
	defer s.node.fleet.mu.Unlock()

	info := version.NewVersion()
	info.Tag = s.node.talos().Version
	info.Sha = simulated
	info.Built = simulated

	reply := &machine.Version{
		Version:  info,
		Platform: &machine.PlatformInfo{Name: simulated, Mode: metalMode{}.String()},
	}

	if s.node.configured() {
		reply.Features = &machine.FeaturesInfo{Rbac: true}
	}

	return &machine.VersionResponse{Messages: []*machine.Version{reply}}, nil
}

// Hostname implements machine.MachineService.
func (s *machineService) Hostname(context.Context, *emptypb.Empty) (*machine.HostnameResponse, error) {
	s.node.fleet.mu.Lock()
	defer s.node.fleet.mu.Unlock()

	return &machine.HostnameResponse{Messages: []*machine.Hostname{{Hostname: s.node.hostname}}}, nil
}

// Bootstrap implements machine.MachineService.
func (s *machineService) Bootstrap(context.Context, *machine.BootstrapRequest) (*machine.BootstrapResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if err := n.requireControlPlane("bootstrap"); err != nil {
		return nil, err
	}

	if n.record.Etcd != nil {
		return nil, status.Error(codes.AlreadyExists, "etcd data directory is not empty")
	}

	n.bootstrapEtcd()
	n.fleet.settle()

	return &machine.BootstrapResponse{Messages: []*machine.Bootstrap{{}}}, nil
}

// Reboot implements machine.MachineService.
func (s *machineService) Reboot(context.Context, *machine.RebootRequest) (*machine.RebootResponse, error) {
	n := s.node
	actor := uuid.NewString()

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	n.announce(actor, "reboot")
	n.reboot(sequenceDelay, nil)

	return &machine.RebootResponse{Messages: []*machine.Reboot{{ActorId: actor}}}, nil
}

// Shutdown implements machine.MachineService.
func (s *machineService) Shutdown(context.Context, *machine.ShutdownRequest) (*machine.ShutdownResponse, error) {
	n := s.node
	actor := uuid.NewString()

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	n.announce(actor, "shutdown")
	n.shutdown(nil)

	return &machine.ShutdownResponse{Messages: []*machine.Shutdown{{ActorId: actor}}}, nil
}

// bootIDPath is the only file that can be read: talosctl does so to notice that
// a node has rebooted.
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// Read implements machine.MachineService.
func (s *machineService) Read(in *machine.ReadRequest, stream machine.MachineService_ReadServer) error {
	if in.GetPath() != bootIDPath {
		return status.Errorf(codes.NotFound, "stat %s: no such file or directory", in.GetPath())
	}

	s.node.fleet.mu.Lock()
	bootID := s.node.record.BootID
	s.node.fleet.mu.Unlock()

	return stream.Send(&common.Data{Bytes: []byte(bootID + "\n")})
}

// etcdData is the only directory that can be listed: whether it holds anything
// tells whether an etcd that does not run has been there before.
const etcdData = "/var/lib/etcd"

// List implements machine.MachineService.
func (s *machineService) List(in *machine.ListRequest, stream machine.MachineService_ListServer) error {
	if in.GetRoot() != etcdData {
		return status.Errorf(codes.Unknown, "lstat %s: no such file or directory", in.GetRoot())
	}

	s.node.fleet.mu.Lock()
	hasEtcd := s.node.record.Etcd != nil
	s.node.fleet.mu.Unlock()

	if err := stream.Send(&machine.FileInfo{Name: etcdData, RelativeName: ".", IsDir: true}); err != nil || !hasEtcd {
		return err
	}

	return stream.Send(&machine.FileInfo{Name: etcdData + "/member", RelativeName: "member", IsDir: true})
}
