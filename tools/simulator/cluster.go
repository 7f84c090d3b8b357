package main

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// trustd finds a running control plane that signs certificates for this node.
func (n *node) trustd() *node {
	for _, other := range n.fleet.sorted() {
		if other.phase == phaseSecure && other.isControlPlane() &&
			trustsIssuer(n.active.Machine().Security(), other.active.Machine().Security()) {
			return other
		}
	}

	return nil
}

// findHostname returns the name the node gives itself.
func (n *node) findHostname() string {
	if n.active != nil {
		if cfg := n.active.NetworkHostnameConfig(); cfg != nil && cfg.Hostname() != "" {
			name, _, _ := strings.Cut(cfg.Hostname(), ".")

			return name
		}
	}

	sum := strings.ToLower(base32.StdEncoding.EncodeToString(n.nodeIDSum()))

	return fmt.Sprintf("talos-%s-%s", sum[1:4], sum[4:7])
}

// nodeID identifies the node among the members of its cluster.
func (n *node) nodeID() string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(n.nodeIDSum())
}

func (n *node) nodeIDSum() []byte {
	sum := sha256.Sum256(n.spec.uuid[:])

	return sum[:]
}

// findClusterKey returns what is equal for nodes that find each other: same
// cluster id, secret and machine CA. It is empty without a configuration.
func (n *node) findClusterKey() string {
	if !n.configured() || n.active.Cluster() == nil {
		return ""
	}

	hash := sha256.New()
	fmt.Fprintf(hash, "%s\n%s\n", n.active.Cluster().ID(), n.active.Cluster().Secret())

	if accepted := acceptedCAs(n.active.Machine().Security()); len(accepted) > 0 {
		hash.Write(accepted[len(accepted)-1].Crt) //nolint:errcheck // never fails
	}

	return fmt.Sprintf("%x", hash.Sum(nil)[:8])
}

// peers lists the nodes of the same cluster that are up, this one included.
func (n *node) peers() []*node {
	key := n.clusterKey
	if key == "" {
		return nil
	}

	var peers []*node

	for _, other := range n.fleet.sorted() {
		if other.phase == phaseSecure && other.clusterKey == key {
			peers = append(peers, other)
		}
	}

	return peers
}
