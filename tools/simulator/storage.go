package main

import (
	"context"

	"github.com/siderolabs/talos/pkg/machinery/api/storage"
	"google.golang.org/protobuf/types/known/emptypb"
)

// storageService lists the one disk a simulated node has.
type storageService struct {
	storage.UnimplementedStorageServiceServer

	node *node
}

// The disk of a simulated node.
const (
	diskID    = "vda"
	diskPath  = "/dev/vda"
	diskModel = "simulated disk"
	diskSize  = 20 << 30
)

// Disks implements storage.StorageService.
func (s *storageService) Disks(context.Context, *emptypb.Empty) (*storage.DisksResponse, error) {
	s.node.fleet.mu.Lock()
	defer s.node.fleet.mu.Unlock()

	return &storage.DisksResponse{Messages: []*storage.Disks{{Disks: []*storage.Disk{{
		DeviceName: diskPath,
		Model:      diskModel,
		Size:       diskSize,
		Type:       storage.Disk_SSD,
		SystemDisk: s.node.persistent != nil,
	}}}}}, nil
}
