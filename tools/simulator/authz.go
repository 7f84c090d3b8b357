package main

import (
	"context"
	"path"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// errNotAuthorized is what somebody without the needed role is told.
var errNotAuthorized = status.Error(codes.PermissionDenied, "not authorized")

// Who may call what, by service and method. Methods that are not listed are for
// os:admin only.
var (
	readers   = role.MakeSet(role.Admin, role.Operator, role.Reader)
	operators = role.MakeSet(role.Admin, role.Operator)
	admins    = role.MakeSet(role.Admin)

	rules = makeRules(map[string]role.Set{
		"machine.MachineService CPUInfo CPUFreqStats Containers DiskStats DiskUsage Dmesg Events Hostname ImageList " +
			"List LoadAvg Logs LogsContainers Memory Mounts NetworkDeviceStats Netstat Processes ServiceList Stats " +
			"SystemStat Version": readers,
		"machine.MachineService EtcdAlarmDisarm EtcdDefragment ImagePull PacketCapture Reboot Restart ServiceRestart " +
			"ServiceStart ServiceStop Shutdown": operators,
		"machine.MachineService EtcdAlarmList EtcdMemberList EtcdStatus": role.MakeSet(
			role.Admin, role.Operator, role.Reader, role.EtcdBackup),
		"machine.MachineService EtcdSnapshot": role.MakeSet(role.Admin, role.Operator, role.EtcdBackup),
		// Readers get this far for maintenance mode's sake; the method itself
		// looks closer.
		"machine.MachineService ApplyConfiguration": role.MakeSet(role.Admin, role.Reader),
		"machine.ImageService Pull":                 operators,
		// Each type of resource has its own rule beyond this one.
		"cosi.resource.State Get List Watch": readers,
		"storage.StorageService Disks":       readers,
	})
)

// makeRules spells out "service method method …" as full method names.
func makeRules(groups map[string]role.Set) map[string]role.Set {
	all := map[string]role.Set{}

	for group, roles := range groups {
		words := strings.Fields(group)

		for _, method := range words[1:] {
			all["/"+words[0]+"/"+method] = roles
		}
	}

	return all
}

// authorize checks the caller's roles for a method.
func authorize(ctx context.Context, fullMethod string) error {
	allowed, listed := rules[fullMethod]
	if !listed {
		allowed = admins
	}

	if !allowed.IncludesAny(rolesOf(ctx)) {
		return errNotAuthorized
	}

	return nil
}

// rolesKey is the context's key for the caller's roles.
type rolesKey struct{}

// rolesOf returns the roles the interceptors found.
func rolesOf(ctx context.Context) role.Set {
	roles, ok := ctx.Value(rolesKey{}).(role.Set)
	if !ok {
		return role.Zero
	}

	return roles
}

// withRoles notes the caller's roles: those of its certificate, and "reader"
// for everybody in maintenance mode.
func withRoles(ctx context.Context, maintenance bool) context.Context {
	return context.WithValue(ctx, rolesKey{}, callerRoles(ctx, maintenance))
}

func callerRoles(ctx context.Context, maintenance bool) role.Set {
	if maintenance {
		return role.MakeSet(role.Reader)
	}

	remote, ok := peer.FromContext(ctx)
	if !ok {
		return role.Zero
	}

	info, ok := remote.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return role.Zero
	}

	roles, _ := role.Parse(info.State.PeerCertificates[0].Subject.Organization)

	if roles.Includes(role.Impersonator) {
		md, _ := metadata.FromIncomingContext(ctx)

		if assumed := md.Get(constants.APIAuthzRoleMetadataKey); len(assumed) > 0 {
			roles, _ = role.Parse(assumed)
		}
	}

	return roles
}

// baseName is the method's name without its service.
func baseName(fullMethod string) string {
	return path.Base(fullMethod)
}
