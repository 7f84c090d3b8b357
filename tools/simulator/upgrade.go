package main

import (
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// imageService pretends to pull images: nothing is fetched.
type imageService struct {
	machine.UnimplementedImageServiceServer
}

// Pull implements machine.ImageService.
func (imageService) Pull(
	in *machine.ImageServicePullRequest, stream grpc.ServerStreamingServer[machine.ImageServicePullResponse],
) error {
	if in.GetImageRef() == "" {
		return status.Error(codes.InvalidArgument, "image reference is required")
	}

	return stream.Send(&machine.ImageServicePullResponse{
		Response: &machine.ImageServicePullResponse_Name{Name: in.GetImageRef()},
	})
}

// lifecycleService writes another Talos to a node's "disk". As on a machine,
// nobody asks etcd, and the node runs it from its next boot on.
type lifecycleService struct {
	machine.UnimplementedLifecycleServiceServer

	node *node
}

// Upgrade implements machine.LifecycleService.
func (s *lifecycleService) Upgrade(
	in *machine.LifecycleServiceUpgradeRequest, stream grpc.ServerStreamingServer[machine.LifecycleServiceUpgradeResponse],
) error {
	image := in.GetSource().GetImageName()

	if err := s.node.upgrade(image); err != nil {
		return err
	}

	for _, progress := range []*machine.LifecycleServiceInstallProgress{
		{Response: &machine.LifecycleServiceInstallProgress_Message{Message: simulated + " upgrade to " + image}},
		{Response: &machine.LifecycleServiceInstallProgress_ExitCode{ExitCode: 0}},
	} {
		if err := stream.Send(&machine.LifecycleServiceUpgradeResponse{Progress: progress}); err != nil {
			return err
		}
	}

	return nil
}

// upgrade notes what the node runs from its next boot on. Locks the fleet.
func (n *node) upgrade(image string) error {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	switch {
	case n.persistent == nil:
		return status.Error(codes.FailedPrecondition, "machine is not installed")
	case image == "":
		return status.Error(codes.InvalidArgument, "installer image name is required")
	}

	talos := fromInstaller(image)
	n.record.NextTalos = &talos
	n.save()

	return nil
}
