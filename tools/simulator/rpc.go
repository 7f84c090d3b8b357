package main

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	cosi "github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/api/storage"
)

// serviceTable finds the implementation of a method by its full name, for
// calls that another node forwards.
type serviceTable struct {
	descriptions []*grpc.ServiceDesc
	services     []any

	unary   map[string]func(ctx context.Context, req any) (any, error)
	streams map[string]func(stream grpc.ServerStream) error
}

// newServiceTable collects the services of a node.
func newServiceTable(
	m machine.MachineServiceServer, i machine.ImageServiceServer, l machine.LifecycleServiceServer,
	s storage.StorageServiceServer, c cosi.StateServer,
) serviceTable {
	table := serviceTable{
		descriptions: []*grpc.ServiceDesc{
			&machine.MachineService_ServiceDesc, &machine.ImageService_ServiceDesc,
			&machine.LifecycleService_ServiceDesc, &storage.StorageService_ServiceDesc, &cosi.State_ServiceDesc,
		},
		services: []any{m, i, l, s, c},
		unary:    map[string]func(context.Context, any) (any, error){},
		streams:  map[string]func(grpc.ServerStream) error{},
	}

	for i, description := range table.descriptions {
		service := table.services[i]

		for _, method := range description.Methods {
			table.unary["/"+description.ServiceName+"/"+method.MethodName] = func(ctx context.Context, req any) (any, error) {
				return method.Handler(service, ctx, copyInto(req), nil)
			}
		}

		for _, stream := range description.Streams {
			table.streams["/"+description.ServiceName+"/"+stream.StreamName] = func(s grpc.ServerStream) error {
				return stream.Handler(service, s)
			}
		}
	}

	return table
}

// copyInto is a decoder that takes a request that was decoded before.
func copyInto(req any) func(any) error {
	return func(to any) error {
		proto.Merge(to.(proto.Message), req.(proto.Message)) //nolint:forcetypeassert // gRPC has checked it

		return nil
	}
}

// register offers the services on a server.
func (t serviceTable) register(server *grpc.Server) {
	for i, description := range t.descriptions {
		server.RegisterService(description, t.services[i])
	}
}

// interceptUnary handles every call that has one answer. Locks the fleet.
func (n *node) interceptUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	mode := n.mode()

	return n.routeUnary(withRoles(ctx, mode == phaseMaintenance), req, info.FullMethod, mode)
}

// interceptStream handles every call with a stream of answers. Locks the fleet.
func (n *node) interceptStream(_ any, stream grpc.ServerStream, info *grpc.StreamServerInfo, _ grpc.StreamHandler) error {
	mode := n.mode()

	return n.routeStream(withRoles(stream.Context(), mode == phaseMaintenance), stream, info.FullMethod, mode)
}

// mode is the phase for the log and for who is let in. Locks the fleet.
func (n *node) mode() phase {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	return n.phase
}

// logCall writes the one line that each call gets on each node: nothing of its
// contents.
func (n *node) logCall(mode phase, fullMethod string, err error) {
	n.fleet.logf("%s %s %s %s", n.spec.address, mode, fullMethod, status.Code(err))
}

// refuseCall logs a call that got no further than this node.
func (n *node) refuseCall(mode phase, fullMethod string, err error) error {
	n.logCall(mode, fullMethod, err)

	return err
}

// callUnary runs a call on this node, unless a fault gets in its way. Locks
// the fleet.
func (n *node) callUnary(ctx context.Context, req any, fullMethod string) (reply any, err error) {
	err = n.withFaults(ctx, fullMethod, func() error {
		handler := n.services().unary[fullMethod]
		if handler == nil {
			return errGone
		}

		reply, err = handler(ctx, req)

		return err
	})

	return reply, err
}

// callStream is callUnary for streams. Locks the fleet.
func (n *node) callStream(stream grpc.ServerStream, fullMethod string) error {
	return n.withFaults(stream.Context(), fullMethod, func() error {
		handler := n.services().streams[fullMethod]
		if handler == nil {
			return errGone
		}

		return handler(stream)
	})
}

// errGone is for calls that come in while a node goes down.
var errGone = status.Error(codes.Unavailable, "error reading from server: EOF")

// services returns the table of the running endpoint, or an empty one.
func (n *node) services() serviceTable {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if n.endpoint == nil {
		return serviceTable{}
	}

	return n.endpoint.services
}

// withFaults authorizes and runs a call the way the faults file wants it.
func (n *node) withFaults(ctx context.Context, fullMethod string, call func() error) (err error) {
	mode := n.mode()
	defer func() { n.logCall(mode, fullMethod, err) }()

	fault := n.fleet.faults.forCall(n.spec.address, baseName(fullMethod))

	switch {
	case fault.hang:
		if err = wait(ctx, fault.bound); err != nil {
			return err
		}
	case fault.dropBefore:
		return n.cut(ctx)
	case fault.reject:
		return status.Error(codes.InvalidArgument, "simulated rejection")
	case fault.tooEarly:
		return status.Error(codes.FailedPrecondition, "bootstrap is not available yet")
	}

	if err = authorize(ctx, fullMethod); err != nil {
		return err
	}

	err = call()

	if fault.dropAfter {
		return n.cut(ctx)
	}

	return err
}

// cut breaks the connection a call came in on.
func (n *node) cut(ctx context.Context) error {
	remote, ok := peer.FromContext(ctx)

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if ok && n.endpoint != nil && n.endpoint.listener != nil {
		n.endpoint.listener.cut(remote.Addr.String())
	}

	return errGone
}

// wait lets time pass until the caller gives up (an error) or the bound is
// reached; zero means no bound.
func wait(ctx context.Context, bound time.Duration) error {
	var timer <-chan time.Time
	if bound > 0 {
		timer = time.After(bound)
	}

	select {
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-timer:
		return nil
	}
}
