package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// askAgain is how long to wait before looking for an etcd again.
const askAgain = 50 * time.Millisecond

// etcdCluster is one (simulated) etcd cluster. There is one for each bootstrap,
// so bootstrapping two nodes of the same Talos cluster makes two, as it would
// with real machines.
type etcdCluster struct {
	Leader  uint64       `json:"leader"`
	Term    uint64       `json:"term"`
	Members []etcdMember `json:"members"`
}

// etcdMember is a member that the cluster knows, whether it runs or not.
type etcdMember struct {
	ID      uint64 `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
}

// randomID makes an identifier of an etcd member or cluster.
func randomID() uint64 {
	var raw [8]byte

	rand.Read(raw[:]) //nolint:errcheck // never fails

	return binary.BigEndian.Uint64(raw[:])
}

// saveEtcd remembers the etcd clusters.
func (f *fleet) saveEtcd() {
	f.remember(writeJSON(f.etcdFile(), f.etcd))
}

// startEtcd brings the resources up to date once a remembered member is ready.
func (n *node) startEtcd() {
	if seat := n.record.Etcd; seat != nil {
		n.fleet.after(time.Until(seat.ReadyAt)+time.Millisecond, func() {})
	}
}

// bootstrapEtcd founds an etcd cluster with this node as its only member.
func (n *node) bootstrapEtcd() {
	id := fmt.Sprintf("%016x", randomID())
	n.fleet.etcd[id] = &etcdCluster{Term: 1}
	n.enterEtcd(id, n.fleet.etcdDelay)
}

// joinEtcd lets a control plane without etcd data join the etcd cluster of its
// peers, if there is one.
func (n *node) joinEtcd() {
	if n.joining || !n.wantsEtcd() || n.etcdToJoin() == "" {
		return
	}

	n.joining = true
	generation := n.generation

	n.fleet.after(n.fleet.etcdDelay, func() {
		if n.generation != generation {
			return
		}

		n.joining = false

		if id := n.etcdToJoin(); id != "" && n.wantsEtcd() {
			n.enterEtcd(id, 0)
		}
	})
}

// wantsEtcd tells whether the node runs etcd but has no data yet.
func (n *node) wantsEtcd() bool {
	return n.phase == phaseSecure && n.isControlPlane() && n.record.Etcd == nil
}

// etcdToJoin names the etcd cluster a new control plane would join.
func (n *node) etcdToJoin() string {
	for _, peer := range n.peers() {
		if peer.etcdReady() {
			return peer.record.Etcd.Cluster
		}
	}

	return ""
}

// enterEtcd makes the node a member that is ready after a delay.
func (n *node) enterEtcd(id string, delay time.Duration) {
	member := etcdMember{ID: randomID(), Name: n.hostname, Address: n.spec.address.String()}
	cluster := n.fleet.etcd[id]

	// Talos takes a member of the same name for this node before it was wiped.
	cluster.Members = slices.DeleteFunc(cluster.Members, func(m etcdMember) bool { return m.Name == member.Name })
	cluster.Members = append(cluster.Members, member)

	if cluster.Leader == 0 {
		cluster.Leader = member.ID
	}

	n.record.Etcd = &etcdSeat{Cluster: id, Member: member.ID, ReadyAt: time.Now().UTC().Add(delay)}
	n.save()
	n.fleet.saveEtcd()
	n.startEtcd()
}

// etcdCluster is the cluster the node has data of, and still belongs to.
func (n *node) etcdCluster() *etcdCluster {
	if n.record.Etcd == nil {
		return nil
	}

	cluster := n.fleet.etcd[n.record.Etcd.Cluster]
	if cluster == nil || cluster.index(n.record.Etcd.Member) < 0 {
		return nil
	}

	return cluster
}

// etcdReady tells whether the node's etcd serves.
func (n *node) etcdReady() bool {
	return n.phase == phaseSecure && n.isControlPlane() && n.etcdCluster() != nil &&
		!time.Now().Before(n.record.Etcd.ReadyAt)
}

// index finds a member by its id.
func (c *etcdCluster) index(member uint64) int {
	return slices.IndexFunc(c.Members, func(m etcdMember) bool { return m.ID == member })
}

// runningMembers lists the members whose nodes are up.
func (f *fleet) runningMembers(cluster *etcdCluster) []uint64 {
	var running []uint64

	for _, n := range f.sorted() {
		if n.etcdReady() && n.etcdCluster() == cluster {
			running = append(running, n.record.Etcd.Member)
		}
	}

	return running
}

// quorum tells whether most members run, and makes sure a running one leads.
func (f *fleet) quorum(cluster *etcdCluster) bool {
	running := f.runningMembers(cluster)
	if len(running)*2 <= len(cluster.Members) {
		return false
	}

	if !slices.Contains(running, cluster.Leader) {
		cluster.Leader = running[0]
		cluster.Term++

		f.saveEtcd()
	}

	return true
}

// errMemberNotFound is etcd's answer about a member it does not know.
var errMemberNotFound = errors.New("etcdserver: member not found")

// removeMember takes a member out of its cluster, unless too few would be left
// running.
func (f *fleet) removeMember(cluster *etcdCluster, member uint64) error {
	index := cluster.index(member)
	if index < 0 {
		return fmt.Errorf("failed to remove member %d: %w", member, errMemberNotFound)
	}

	others := slices.DeleteFunc(f.runningMembers(cluster), func(id uint64) bool { return id == member })
	if quorum := (len(cluster.Members)-1)/2 + 1; len(others) < quorum {
		return fmt.Errorf("failed to remove member %d: etcdserver: re-configuration failed due to not enough started members", member)
	}

	cluster.Members = slices.Delete(cluster.Members, index, index+1)

	if cluster.Leader == member {
		cluster.Leader = others[0]
		cluster.Term++
	}

	f.saveEtcd()

	return nil
}

// leaveEtcd takes this node out of its cluster, removes its data and keeps etcd
// down until the next boot.
func (n *node) leaveEtcd() error {
	if cluster := n.etcdCluster(); cluster != nil {
		if err := n.fleet.removeMember(cluster, n.record.Etcd.Member); err != nil {
			return fmt.Errorf("failed to leave cluster: %w", err)
		}
	}

	n.record.Etcd = nil
	n.joining = true
	n.save()

	return nil
}

// localEtcd is the cluster behind this node's own etcd, or why that does not
// answer.
func (n *node) localEtcd() (*etcdCluster, error) {
	if !n.etcdReady() {
		return nil, noEtcdError{"[::1]"}
	}

	return n.etcdCluster(), nil
}

// anyEtcd is the etcd cluster that one of the control planes answers with.
func (n *node) anyEtcd() (*etcdCluster, error) {
	id := ""
	if n.etcdReady() {
		id = n.record.Etcd.Cluster
	} else {
		id = n.etcdToJoin()
	}

	if id == "" {
		return nil, noEtcdError{n.spec.address.String()}
	}

	cluster := n.fleet.etcd[id]
	if !n.fleet.quorum(cluster) {
		return nil, status.Error(codes.Unavailable, "etcdserver: no leader")
	}

	return cluster, nil
}

// awaitEtcd looks for an etcd until there is one or the caller gives up: a real
// node leaves these questions without an answer while no etcd runs. The fleet's
// lock is held, but not while it waits.
func (n *node) awaitEtcd(ctx context.Context, find func() (*etcdCluster, error)) (*etcdCluster, error) {
	for {
		cluster, err := find()
		if !errors.As(err, &noEtcdError{}) {
			return cluster, err
		}

		n.fleet.mu.Unlock()

		select {
		case <-ctx.Done():
		case <-time.After(askAgain):
		}

		n.fleet.mu.Lock()

		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// noEtcdError is the error of a connection to an etcd that does not run.
type noEtcdError struct{ host string }

// Error implements error.
func (e noEtcdError) Error() string { return e.GRPCStatus().Message() }

// GRPCStatus is what the caller of a method is told.
func (e noEtcdError) GRPCStatus() *status.Status {
	return status.Newf(codes.Unavailable,
		"connection error: desc = \"transport: Error while dialing: dial tcp %s:%d: connect: connection refused\"",
		e.host, constants.EtcdClientPort)
}

// asProto lists the members for the API.
func (c *etcdCluster) asProto() *machine.EtcdMembers {
	reply := &machine.EtcdMembers{}

	for _, member := range c.Members {
		reply.LegacyMembers = append(reply.LegacyMembers, member.Name)
		reply.Members = append(reply.Members, &machine.EtcdMember{
			Id:         member.ID,
			Hostname:   member.Name,
			PeerUrls:   []string{fmt.Sprintf("https://%s:%d", member.Address, constants.EtcdPeerPort)},
			ClientUrls: []string{fmt.Sprintf("https://%s:%d", member.Address, constants.EtcdClientPort)},
		})
	}

	return reply
}
