package main

import (
	"context"
	"strings"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// GenerateClientConfiguration implements machine.MachineService: it makes a
// talosconfig with the wanted roles.
func (s *machineService) GenerateClientConfiguration(
	_ context.Context, in *machine.GenerateClientConfigurationRequest,
) (*machine.GenerateClientConfigurationResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if err := n.requireControlPlane("generate client configuration"); err != nil {
		return nil, err
	}

	lifetime := in.GetCrtTtl().AsDuration()
	if lifetime <= 0 {
		return nil, status.Error(codes.InvalidArgument, "crt_ttl should be positive")
	}

	roles, _ := role.Parse(in.GetRoles())
	bundle := secrets.NewBundleFromConfig(secrets.NewFixedClock(time.Now()), n.active)

	pair, err := bundle.GenerateTalosAPIClientCertificateWithTTL(roles, lifetime)
	if err != nil {
		return nil, err
	}

	name := n.active.Cluster().Name()
	if words := roles.Strings(); len(words) == 1 {
		name = strings.TrimPrefix(words[0], role.Prefix) + "@" + name
	}

	talosconfig, err := clientconfig.NewConfig(name, nil, bundle.Certs.OS.Crt, pair).Bytes()
	if err != nil {
		return nil, err
	}

	return &machine.GenerateClientConfigurationResponse{Messages: []*machine.GenerateClientConfiguration{{
		Ca: bundle.Certs.OS.Crt, Crt: pair.Crt, Key: pair.Key, Talosconfig: talosconfig,
	}}}, nil
}
