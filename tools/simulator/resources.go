package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	"github.com/siderolabs/talos/pkg/machinery/resources/block"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"github.com/siderolabs/talos/pkg/machinery/resources/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/etcd"
	"github.com/siderolabs/talos/pkg/machinery/resources/hardware"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	"github.com/siderolabs/talos/pkg/machinery/resources/network"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"github.com/siderolabs/talos/pkg/machinery/resources/time"
	"github.com/siderolabs/talos/pkg/machinery/resources/v1alpha1"
	"github.com/siderolabs/talos/pkg/machinery/version"

	machinetype "github.com/siderolabs/talos/pkg/machinery/config/machine"
)

// linkName is the one network interface of a simulated node.
const linkName = "enp1s0"

// machineStage is what a machine is doing.
type machineStage = runtime.MachineStage

// The stages in use.
const (
	stageBooting      = runtime.MachineStageBooting
	stageMaintenance  = runtime.MachineStageMaintenance
	stageRunning      = runtime.MachineStageRunning
	stageRebooting    = runtime.MachineStageRebooting
	stageShuttingDown = runtime.MachineStageShuttingDown
	stageResetting    = runtime.MachineStageResetting
)

// wantedResources lists what a node's state should hold now.
func (n *node) wantedResources() []resource.Resource {
	all := n.hardwareResources()
	all = append(all, n.networkResources()...)
	all = append(all, n.configResources()...)
	all = append(all, n.serviceResources()...)
	all = append(all, n.clusterResources()...)

	return append(all, n.machineStatus())
}

// hardwareResources describe the machine.
func (n *node) hardwareResources() []resource.Resource {
	system := hardware.NewSystemInformation(hardware.SystemInformationID)
	system.TypedSpec().Manufacturer = simulated
	system.TypedSpec().ProductName = "simulated Talos node"
	system.TypedSpec().UUID = n.spec.uuid.String()

	disk := block.NewDisk(block.NamespaceName, diskID)
	*disk.TypedSpec() = block.DiskSpec{
		DevPath: diskPath, Size: diskSize, PrettySize: "21 GB", IOSize: 512, SectorSize: 512,
		Model: diskModel, BusPath: "/virtual", SubSystem: "/sys/class/block", Transport: "virtio",
	}

	all := []resource.Resource{system, disk}

	if n.persistent != nil {
		systemDisk := block.NewSystemDisk(block.NamespaceName, block.SystemDiskID)
		systemDisk.TypedSpec().DiskID = diskID
		systemDisk.TypedSpec().DevPath = diskPath
		all = append(all, systemDisk)
	}

	talos := runtime.NewVersion()
	talos.TypedSpec().Name = "Talos (simulated)"
	talos.TypedSpec().Version = n.talos().Version

	platform := runtime.NewPlatformMetadataSpec(runtime.NamespaceName, runtime.PlatformMetadataID)
	platform.TypedSpec().Platform = simulated

	clock := time.NewStatus()
	clock.TypedSpec().Synced = true

	return append(append(all, talos, platform, clock), n.extensions()...)
}

// networkResources describe the interface and its address.
func (n *node) networkResources() []resource.Resource {
	prefix := netip.PrefixFrom(n.spec.address, 8)

	link := network.NewLinkStatus(network.NamespaceName, linkName)
	*link.TypedSpec() = network.LinkStatusSpec{
		Index:            2,
		Type:             nethelpers.LinkEther,
		Flags:            nethelpers.LinkFlags(nethelpers.LinkUp | nethelpers.LinkRunning),
		HardwareAddr:     nethelpers.HardwareAddr(n.spec.mac),
		PermanentAddr:    nethelpers.HardwareAddr(n.spec.mac),
		MTU:              1500,
		QueueDisc:        "pfifo_fast",
		OperationalState: nethelpers.OperStateUp,
		BusPath:          "0000:01:00.0",
		Driver:           simulated,
		LinkState:        true,
	}

	address := network.NewAddressStatus(network.NamespaceName, linkName+"/"+prefix.String())
	*address.TypedSpec() = network.AddressStatusSpec{
		Address: prefix, Local: n.spec.address, LinkIndex: 2, LinkName: linkName,
		Family: nethelpers.FamilyInet4, Scope: nethelpers.ScopeGlobal,
	}

	hostname := network.NewHostnameStatus(network.NamespaceName, network.HostnameID)
	hostname.TypedSpec().Hostname = n.hostname

	ready := network.NewStatus(network.NamespaceName, network.StatusID)
	*ready.TypedSpec() = network.StatusSpec{
		AddressReady: true, ConnectivityReady: true, HostnameReady: true, EtcFilesReady: true,
	}

	all := []resource.Resource{link, address, hostname, ready}

	for _, id := range []resource.ID{
		network.NodeAddressDefaultID, network.NodeAddressCurrentID,
		network.NodeAddressAccumulativeID, network.NodeAddressRoutedID,
	} {
		addresses := network.NewNodeAddress(network.NamespaceName, id)
		addresses.TypedSpec().Addresses = []netip.Prefix{prefix}
		all = append(all, addresses)
	}

	return all
}

// configResources hold the machine configuration.
func (n *node) configResources() []resource.Resource {
	kind := config.NewMachineType()

	var all []resource.Resource

	if n.active != nil {
		if n.active.Machine() != nil {
			kind.SetMachineType(n.active.Machine().Type())
		}

		all = append(all, config.NewMachineConfigWithID(n.active, config.ActiveID))
	}

	if n.persistent != nil {
		all = append(all, config.NewMachineConfigWithID(n.persistent, config.PersistentID))
	}

	return append(all, kind)
}

// serviceResources show the services' states.
func (n *node) serviceResources() []resource.Resource {
	var all []resource.Resource

	for _, s := range n.runningServices() {
		if !s.running {
			continue
		}

		service := v1alpha1.NewService(s.id)
		*service.TypedSpec() = v1alpha1.ServiceSpec{Running: true, Healthy: !s.unknown, Unknown: s.unknown}
		all = append(all, service)
	}

	return all
}

// clusterResources show what a node knows of its cluster.
func (n *node) clusterResources() []resource.Resource {
	self := cluster.NewIdentity(cluster.NamespaceName, cluster.LocalIdentity)
	self.TypedSpec().NodeID = n.nodeID()

	all := []resource.Resource{self}

	if !n.configured() || n.active.Cluster() == nil {
		return all
	}

	info := cluster.NewInfo()
	info.TypedSpec().ClusterID = n.active.Cluster().ID()
	info.TypedSpec().ClusterName = n.active.Cluster().Name()

	name := k8s.NewNodename(k8s.NamespaceName, k8s.NodenameID)
	name.TypedSpec().Nodename = n.hostname

	all = append(all, info, name)

	if n.etcdReady() {
		member := etcd.NewMember(etcd.NamespaceName, etcd.LocalMemberID)
		member.TypedSpec().MemberID = etcd.FormatMemberID(n.record.Etcd.Member)
		all = append(all, member)
	}

	return append(all, n.members()...)
}

// members lists the nodes that found each other by discovery.
func (n *node) members() []resource.Resource {
	if !n.active.Cluster().Discovery().Enabled() {
		return nil
	}

	var all []resource.Resource

	for _, peer := range n.peers() {
		if !peer.active.Cluster().Discovery().Enabled() {
			continue
		}

		member := cluster.NewMember(cluster.NamespaceName, peer.hostname)
		*member.TypedSpec() = cluster.MemberSpec{
			NodeID:          peer.nodeID(),
			Addresses:       []netip.Addr{peer.spec.address},
			Hostname:        peer.hostname,
			MachineType:     peer.active.Machine().Type(),
			OperatingSystem: fmt.Sprintf("%s (%s, %s)", version.Name, peer.talos().Version, simulated),
		}

		if member.TypedSpec().MachineType != machinetype.TypeWorker {
			member.TypedSpec().ControlPlane = &cluster.ControlPlane{APIServerPort: peer.active.Cluster().LocalAPIServerPort()}
		}

		all = append(all, member)
	}

	return all
}

// setStage overrides the stage until the next boot.
func (n *node) setStage(stage machineStage) {
	n.stage = stage
	n.publish()
}

// machineStatus says how far the machine is, and announces it if that changed.
func (n *node) machineStatus() resource.Resource {
	ms := runtime.NewMachineStatus()
	spec := ms.TypedSpec()
	spec.Stage = n.stage

	if spec.Stage == runtime.MachineStageUnknown {
		spec.Stage = n.currentStage()
	}

	if spec.Stage == stageBooting || spec.Stage == stageRunning {
		spec.Status.UnmetConditions = n.unmetConditions()
	}

	spec.Status.Ready = len(spec.Status.UnmetConditions) == 0

	if shown := fmt.Sprint(*spec); shown != n.announced {
		n.announced = shown
		n.events.add("", &machine.MachineStatusEvent{
			Stage:  machine.MachineStatusEvent_MachineStage(spec.Stage),
			Status: &machine.MachineStatusEvent_MachineStatus{Ready: spec.Status.Ready},
		})
	}

	return ms
}

// currentStage is the stage of a node that nobody told to go down: a control
// plane boots until its etcd runs.
func (n *node) currentStage() machineStage {
	switch {
	case n.phase == phaseMaintenance && !n.configured():
		return stageMaintenance
	case n.isControlPlane() && !n.etcdReady():
		return stageBooting
	default:
		return stageRunning
	}
}

// unmetConditions lists why a node is not ready.
func (n *node) unmetConditions() []runtime.UnmetCondition {
	var unmet []runtime.UnmetCondition

	var missing []string

	for _, service := range n.runningServices() {
		if !service.running {
			missing = append(missing, service.id+" not running")
		}
	}

	if len(missing) > 0 {
		unmet = append(unmet, runtime.UnmetCondition{Name: "services", Reason: strings.Join(missing, ", ")})
	}

	if !n.kubernetesReady() {
		unmet = append(unmet, runtime.UnmetCondition{
			Name: "nodeReady", Reason: fmt.Sprintf("node %q status is not available yet", n.hostname),
		})
	}

	return unmet
}

// kubernetesReady pretends that Kubernetes runs wherever etcd does.
func (n *node) kubernetesReady() bool {
	return n.etcdReady() || n.etcdToJoin() != ""
}
