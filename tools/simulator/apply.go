package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	talosconfig "github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configdiff"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/container"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// applyMode is the mode of an apply request.
type applyMode = machine.ApplyConfigurationRequest_Mode

// Short names for the modes.
const (
	modeAuto     = machine.ApplyConfigurationRequest_AUTO
	modeReboot   = machine.ApplyConfigurationRequest_REBOOT
	modeNoReboot = machine.ApplyConfigurationRequest_NO_REBOOT
	modeStaged   = machine.ApplyConfigurationRequest_STAGED
	modeTry      = machine.ApplyConfigurationRequest_TRY
)

// What a node says about the modes.
const (
	detailsReboot   = "Applied configuration with a reboot"
	detailsNoReboot = "Applied configuration without a reboot"
	detailsStaged   = "Staged configuration to be applied after the next reboot"
)

// ApplyConfiguration implements machine.MachineService.
func (s *machineService) ApplyConfiguration(
	ctx context.Context, in *machine.ApplyConfigurationRequest,
) (*machine.ApplyConfigurationResponse, error) {
	n := s.node

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if n.configured() && !rolesOf(ctx).Includes(role.Admin) {
		return nil, errNotAuthorized
	}

	// Even a dry run does this: siderolabs/talos#14343.
	if in.GetMode() != modeTry {
		n.cancelTry()
	}

	provider, warnings, err := n.checkConfig(ctx, in.GetData())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}

	mode, details, err := n.decideMode(in.GetMode(), provider)
	if err != nil {
		return nil, err
	}

	if in.GetDryRun() {
		return n.dryRun(mode, details, provider)
	}

	details, err = n.apply(mode, details, in, provider)
	if err != nil {
		return nil, err
	}

	n.fleet.settle()

	return applyResponse(mode, details, warnings), nil
}

// applyResponse wraps the answer to an apply request.
func applyResponse(mode applyMode, details string, warnings []string) *machine.ApplyConfigurationResponse {
	return &machine.ApplyConfigurationResponse{
		Messages: []*machine.ApplyConfiguration{{Mode: mode, ModeDetails: details, Warnings: warnings}},
	}
}

// metalMode is the mode of the platform that configurations are checked for:
// a machine that boots from the disk Talos is installed on.
type metalMode struct {
	installed bool
}

// String implements validation.RuntimeMode.
func (metalMode) String() string { return "metal" }

// RequiresInstall implements validation.RuntimeMode.
func (m metalMode) RequiresInstall() bool { return !m.installed }

// InContainer implements validation.RuntimeMode.
func (metalMode) InContainer() bool { return false }

// validationMode is the mode for this node.
func (n *node) validationMode() metalMode { return metalMode{installed: n.persistent != nil} }

// inMaintenance tells whether the node still wants its first configuration.
func (n *node) inMaintenance() bool { return !n.configured() }

// v1alpha1Of is the main document of a configuration, or nil.
func v1alpha1Of(p talosconfig.Provider) *v1alpha1.Config {
	if p == nil {
		return nil
	}

	return p.RawV1Alpha1()
}

// checkConfig loads and validates a configuration with Talos's own code.
func (n *node) checkConfig(ctx context.Context, data []byte) (talosconfig.Provider, []string, error) {
	provider, err := configloader.NewFromBytes(data)
	if err != nil {
		return nil, nil, err
	}

	if !n.inMaintenance() && provider.RawV1Alpha1() == nil {
		return nil, nil, errors.New("the applied machine configuration doesn't contain v1alpha1 config, " +
			"did you mean to patch the machine config instead?")
	}

	warnings, err := provider.Validate(n.validationMode())
	if err != nil {
		return nil, nil, err
	}

	atRuntime, err := provider.RuntimeValidate(ctx, n.resources, n.validationMode())
	if err != nil {
		return nil, nil, err
	}

	return provider, slices.Concat(warnings, atRuntime), nil
}

// decideMode finds out what an apply request will do, and what it says.
func (n *node) decideMode(mode applyMode, provider talosconfig.Provider) (applyMode, string, error) {
	immediate := n.canApplyImmediately(provider)
	if n.inMaintenance() {
		immediate = nil

		if mode == modeReboot {
			mode = modeNoReboot
		}
	}

	switch mode {
	case modeTry, modeNoReboot:
		if immediate != nil {
			return mode, "", status.Error(codes.InvalidArgument, immediate.Error())
		}

		return mode, detailsNoReboot, nil
	case modeStaged:
		return mode, detailsStaged, nil
	case modeReboot:
		return mode, detailsReboot, nil
	case modeAuto:
		if immediate != nil {
			return modeReboot, detailsReboot + ": " + immediate.Error(), nil
		}

		return modeNoReboot, detailsNoReboot, nil
	default:
		return mode, "", fmt.Errorf("incorrect mode '%s' specified for the apply config call", mode)
	}
}

// dryRun says what would be done.
func (n *node) dryRun(mode applyMode, details string, provider talosconfig.Provider) (*machine.ApplyConfigurationResponse, error) {
	var running talosconfig.Container
	if n.active != nil {
		running = n.active
	}

	diff, err := configdiff.DiffConfigs(running, provider)
	if err != nil {
		return nil, fmt.Errorf("failed to generate diff: %w", err)
	}

	if diff == "" {
		diff = "No changes."
	}

	return applyResponse(mode, fmt.Sprintf("Dry run summary:\n%s (skipped in dry-run).\nConfig diff:\n\n%s", details, diff), nil), nil
}

// apply does what an apply request asks for.
func (n *node) apply(
	mode applyMode, details string, in *machine.ApplyConfigurationRequest, provider talosconfig.Provider,
) (string, error) {
	wasInMaintenance := n.inMaintenance()

	switch mode {
	case modeTry:
		timeout := constants.ConfigTryTimeout
		if in.GetTryModeTimeout() != nil {
			timeout = in.GetTryModeTimeout().AsDuration()
		}

		details += "\nThe config is applied in 'try' mode and will be automatically reverted back in " + timeout.String()

		n.try(provider, timeout)
	case modeNoReboot:
		n.setPersistent(provider)
		n.setActive(provider)
	case modeStaged:
		n.setPersistent(provider)
	case modeReboot:
		n.setPersistent(provider)
		n.reboot(leaveDelay, nil)
	case modeAuto:
		return "", errors.New("undecided mode")
	}

	if wasInMaintenance && n.configured() {
		n.moveOn()
	}

	return details, nil
}

// try runs a configuration for a while.
func (n *node) try(provider talosconfig.Provider, timeout time.Duration) {
	n.cancelTry()
	n.saveConfig(rollbackFile, n.active)

	until := time.Now().UTC().Add(timeout)
	n.record.TryUntil = &until
	n.save()
	n.armRollback(n.active, timeout)
	n.setActive(provider)
}

// armRollback brings a configuration back after a while.
func (n *node) armRollback(previous talosconfig.Provider, timeout time.Duration) {
	n.rollback = n.fleet.after(timeout, func() {
		if n.record.TryUntil == nil || time.Now().Before(*n.record.TryUntil) {
			return
		}

		n.fleet.logf("%s rolls the tried configuration back (simulated)", n.spec.address)
		n.cancelTry()

		wasConfigured := n.configured()
		n.setActive(previous)

		if wasConfigured && !n.configured() {
			n.leave(leaveDelay, n.comeBack)
		}
	})
}

// resumeTry continues a try that the process's end interrupted.
func (n *node) resumeTry() {
	if n.record.TryUntil == nil {
		return
	}

	previous, err := n.loadConfig(rollbackFile)
	n.fleet.remember(err)
	n.armRollback(previous, time.Until(*n.record.TryUntil))
}

// cancelTry makes a tried configuration stay (until the next boot).
func (n *node) cancelTry() {
	n.stopRollback()

	if n.record.TryUntil == nil {
		return
	}

	n.record.TryUntil = nil
	n.save()
	n.saveConfig(rollbackFile, nil)
}

// stopRollback stops the timer.
func (n *node) stopRollback() {
	if n.rollback != nil {
		n.rollback.Stop()
		n.rollback = nil
	}
}

// canApplyImmediately tells why a change needs a reboot, or nil.
func (n *node) canApplyImmediately(provider talosconfig.Provider) error {
	running := v1alpha1Of(n.active)
	if running == nil {
		return errors.New("no current config")
	}

	wanted := v1alpha1Of(provider)
	if wanted == nil {
		return errors.New("new config is not v1alpha1")
	}

	wanted = wanted.DeepCopy()
	adoptLiveFields(wanted, running)

	if reflect.DeepEqual(running, wanted) {
		return nil
	}

	diff, err := configdiff.DiffConfigs(container.NewV1Alpha1(running), container.NewV1Alpha1(wanted))
	if err != nil {
		return fmt.Errorf("error calculating diff: %w", err)
	}

	return fmt.Errorf("this config change can't be applied in immediate mode\ndiff:\n%s", diff)
}

// Fields (of the Go structs) that Talos 1.13 changes without a reboot.
var (
	liveMachineFields = []string{
		"MachineCA", "MachineAcceptedCAs", "MachineTime", "MachineCertSANs", "MachineInstall", "MachineNetwork",
		"MachineSysfs", "MachineSysctls", "MachineLogging", "MachineControlPlane", "MachineKubelet", "MachineKernel",
		"MachineRegistries", "MachinePods", "MachineSeccompProfiles", "MachineNodeAnnotations", "MachineNodeLabels",
		"MachineNodeTaints",
	}
	liveFeatureFields = []string{
		"KubernetesTalosAPIAccessConfig", "KubePrismSupport", "HostDNSSupport", "ImageCacheSupport",
		"FeatureNodeAddressSortAlgorithm",
	}
)

// adoptLiveFields copies from the running configuration what may change without
// a reboot, so that what still differs needs one.
func adoptLiveFields(wanted, running *v1alpha1.Config) {
	wanted.ConfigDebug = running.ConfigDebug
	wanted.ClusterConfig = running.ClusterConfig

	if wanted.MachineConfig == nil || running.MachineConfig == nil {
		return
	}

	copyFields(wanted.MachineConfig, running.MachineConfig, liveMachineFields)

	if wanted.MachineConfig.MachineFeatures != nil && running.MachineConfig.MachineFeatures != nil {
		copyFields(wanted.MachineConfig.MachineFeatures, running.MachineConfig.MachineFeatures, liveFeatureFields)
	}
}

// copyFields copies fields by name between two structs of the same type.
func copyFields[T any](to, from *T, names []string) {
	target, source := reflect.ValueOf(to).Elem(), reflect.ValueOf(from).Elem()

	for _, name := range names {
		target.FieldByName(name).Set(source.FieldByName(name))
	}
}
