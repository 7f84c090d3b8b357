package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Values of a very small etcd database.
const (
	etcdVersion        = "3.6.9"
	etcdStorageVersion = "3.6.0"
	etcdSize           = 20480
)

// EtcdMemberList implements machine.MachineService.
func (s *machineService) EtcdMemberList(
	ctx context.Context, in *machine.EtcdMemberListRequest,
) (*machine.EtcdMemberListResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if err := n.requireControlPlane("member list"); err != nil {
		return nil, err
	}

	find := n.anyEtcd
	if in.GetQueryLocal() {
		find = n.localEtcd
	}

	cluster, err := n.awaitEtcd(ctx, find)
	if err != nil {
		return nil, err
	}

	return &machine.EtcdMemberListResponse{Messages: []*machine.EtcdMembers{cluster.asProto()}}, nil
}

// EtcdStatus implements machine.MachineService.
func (s *machineService) EtcdStatus(ctx context.Context, _ *emptypb.Empty) (*machine.EtcdStatusResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if err := n.requireControlPlane("etcd status"); err != nil {
		return nil, err
	}

	cluster, err := n.awaitEtcd(ctx, n.localEtcd)
	if err != nil {
		return nil, fmt.Errorf("failed to query etcd status: %w", err)
	}

	reply := &machine.EtcdMemberStatus{
		MemberId:        n.record.Etcd.Member,
		ProtocolVersion: etcdVersion,
		StorageVersion:  etcdStorageVersion,
		DbSize:          etcdSize,
		DbSizeInUse:     etcdSize,
		RaftTerm:        cluster.Term,
	}

	if n.fleet.quorum(cluster) {
		reply.Leader = cluster.Leader
	} else {
		reply.Errors = []string{"etcdserver: no leader"}
	}

	return &machine.EtcdStatusResponse{Messages: []*machine.EtcdStatus{{MemberStatus: reply}}}, nil
}

// EtcdAlarmList implements machine.MachineService: there never is an alarm.
func (s *machineService) EtcdAlarmList(context.Context, *emptypb.Empty) (*machine.EtcdAlarmListResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if err := n.requireControlPlane("etcd alarm list"); err != nil {
		return nil, err
	}

	if _, err := n.localEtcd(); err != nil {
		return nil, fmt.Errorf("failed to list etcd alarms: %w", err)
	}

	return &machine.EtcdAlarmListResponse{Messages: []*machine.EtcdAlarm{{}}}, nil
}

// EtcdSnapshot implements machine.MachineService.
func (s *machineService) EtcdSnapshot(_ *machine.EtcdSnapshotRequest, stream machine.MachineService_EtcdSnapshotServer) error {
	snapshot, err := s.snapshot(stream.Context())
	if err != nil {
		return err
	}

	return stream.Send(&common.Data{Bytes: snapshot})
}

// snapshot makes up a snapshot that nobody can mistake for a real one.
func (s *machineService) snapshot(ctx context.Context) ([]byte, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if err := n.requireControlPlane("etcd snapshot"); err != nil {
		return nil, err
	}

	if _, err := n.awaitEtcd(ctx, n.localEtcd); err != nil {
		return nil, fmt.Errorf("failed reading etcd snapshot: %w", err)
	}

	return snapshotFile(map[string]string{
		"cluster": n.record.Etcd.Cluster,
		"member":  fmt.Sprintf("%016x", n.record.Etcd.Member),
	}), nil
}

// EtcdLeaveCluster implements machine.MachineService.
func (s *machineService) EtcdLeaveCluster(
	context.Context, *machine.EtcdLeaveClusterRequest,
) (*machine.EtcdLeaveClusterResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if err := n.requireControlPlane("etcd leave"); err != nil {
		return nil, err
	}

	if _, err := n.anyEtcd(); err != nil {
		return nil, fmt.Errorf("failed to leave cluster: %w", err)
	}

	if err := n.leaveEtcd(); err != nil {
		return nil, err
	}

	n.fleet.settle()

	return &machine.EtcdLeaveClusterResponse{Messages: []*machine.EtcdLeaveCluster{{}}}, nil
}

// EtcdRemoveMemberByID implements machine.MachineService.
func (s *machineService) EtcdRemoveMemberByID(
	_ context.Context, in *machine.EtcdRemoveMemberByIDRequest,
) (*machine.EtcdRemoveMemberByIDResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if err := n.requireControlPlane("etcd remove member"); err != nil {
		return nil, err
	}

	cluster, err := n.anyEtcd()
	if err != nil {
		return nil, fmt.Errorf("failed to remove member: %w", err)
	}

	if err = n.fleet.removeMember(cluster, in.GetMemberId()); err != nil {
		if errors.Is(err, errMemberNotFound) {
			return nil, status.Error(codes.NotFound, err.Error())
		}

		return nil, fmt.Errorf("failed to remove member: %w", err)
	}

	n.fleet.settle()

	return &machine.EtcdRemoveMemberByIDResponse{Messages: []*machine.EtcdRemoveMemberByID{{}}}, nil
}

// EtcdForfeitLeadership implements machine.MachineService.
func (s *machineService) EtcdForfeitLeadership(
	context.Context, *machine.EtcdForfeitLeadershipRequest,
) (*machine.EtcdForfeitLeadershipResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if err := n.requireControlPlane("etcd forfeit leadership"); err != nil {
		return nil, err
	}

	cluster, err := n.localEtcd()
	if err != nil {
		return nil, err
	}

	if len(cluster.Members) == 1 {
		return nil, errors.New("failed to forfeit leadership: cannot forfeit leadership, only one member")
	}

	reply := &machine.EtcdForfeitLeadership{}

	if cluster.Leader == n.record.Etcd.Member {
		next := cluster.Members[(cluster.index(cluster.Leader)+1)%len(cluster.Members)]
		cluster.Leader = next.ID
		cluster.Term++
		reply.Member = next.Name

		n.fleet.saveEtcd()
	}

	return &machine.EtcdForfeitLeadershipResponse{Messages: []*machine.EtcdForfeitLeadership{reply}}, nil
}
