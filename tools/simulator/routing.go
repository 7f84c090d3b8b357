package main

import (
	"bytes"
	"context"
	"net/netip"
	"strings"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// route says which nodes a call is for. Without targets, it is for the node
// that got it.
type route struct {
	targets []string
	// aggregate: the answers are put together, each with its node's name.
	aggregate bool
}

// routeOf reads the metadata that talosctl's --nodes sets. Locks the fleet.
func (n *node) routeOf(ctx context.Context, fullMethod string, mode phase) (route, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	one, many := md.Get("node"), md.Get("nodes")

	if mode == phaseMaintenance || len(md.Get("proxyfrom")) > 0 {
		return route{}, nil
	}

	if len(one) > 1 {
		return route{}, status.Error(codes.InvalidArgument, "node metadata must be single-valued")
	}

	if !n.canForward() {
		return n.localRoute(append(one, many...))
	}

	switch {
	case len(many) > 0 && !strings.HasPrefix(fullMethod, "/machine.") && !strings.HasPrefix(fullMethod, "/storage."):
		return route{}, status.Errorf(codes.InvalidArgument, "one-2-many proxying is not supported for method %s", fullMethod)
	case len(many) > 0:
		return route{targets: many, aggregate: true}, nil
	default:
		return route{targets: one}, nil
	}
}

// canForward tells whether the node has a client certificate for other nodes:
// control planes do. Locks the fleet.
func (n *node) canForward() bool {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	return n.isControlPlane()
}

// localRoute accepts no target but the node itself.
func (n *node) localRoute(targets []string) (route, error) {
	for _, target := range targets {
		if len(targets) > 1 || n.find(target) != n {
			return route{}, status.Error(codes.PermissionDenied, "no request forwarding")
		}
	}

	return route{}, nil
}

// find looks a target up by address or, among the members of the cluster, by
// hostname. Locks the fleet.
func (n *node) find(target string) *node {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	if address, err := netip.ParseAddr(target); err == nil {
		return n.fleet.nodes[address]
	}

	for _, peer := range n.peers() {
		if peer.hostname == target {
			return peer
		}
	}

	return nil
}

// reach finds the node a call is forwarded to, or says why a connection to it
// would fail. Locks the fleet.
func (n *node) reach(target string) (*node, error) {
	if _, err := netip.ParseAddrPort(target); err == nil || target == "" {
		return nil, status.Errorf(codes.Internal, "invalid target %q", target)
	}

	other := n.find(target)
	if other == n {
		return n, nil
	}

	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	switch {
	case other == nil || other.endpoint == nil || other.endpoint.listener == nil:
		return nil, status.Errorf(codes.Unavailable,
			"connection error: desc = \"transport: Error while dialing: dial tcp %s:%d: connect: connection refused\"", target, apiPort)
	case other.phase != phaseSecure || !n.trusts(other):
		return nil, status.Error(codes.Unavailable, "connection error: desc = \"transport: authentication handshake failed: "+
			"tls: failed to verify certificate: x509: certificate signed by unknown authority\"")
	}

	return other, nil
}

// trusts tells whether a node accepts another's certificate.
func (n *node) trusts(other *node) bool {
	own, others := acceptedCAs(n.active.Machine().Security()), acceptedCAs(other.active.Machine().Security())
	if len(others) == 0 {
		return false
	}

	issuer := bytes.TrimSpace(others[len(others)-1].Crt)

	return containsCA(own, issuer)
}

func containsCA(accepted []*x509.PEMEncodedCertificate, issuer []byte) bool {
	for _, ca := range accepted {
		if bytes.Equal(bytes.TrimSpace(ca.Crt), issuer) {
			return true
		}
	}

	return false
}

// routeUnary runs a call where it belongs. Locks the fleet.
func (n *node) routeUnary(ctx context.Context, req any, fullMethod string, mode phase) (any, error) {
	way, err := n.routeOf(ctx, fullMethod, mode)
	if err != nil {
		return nil, n.refuseCall(mode, fullMethod, err)
	}

	if way.aggregate {
		return n.aggregate(ctx, req, fullMethod, way.targets)
	}

	target := n
	if len(way.targets) == 1 {
		if target, err = n.reach(way.targets[0]); err != nil {
			return nil, n.refuseCall(mode, fullMethod, err)
		}
	}

	return target.callUnary(ctx, req, fullMethod)
}

// aggregate runs a call on several nodes and puts the answers together; a
// failure becomes the answer of its node.
func (n *node) aggregate(ctx context.Context, req any, fullMethod string, targets []string) (any, error) {
	var all proto.Message

	for _, target := range targets {
		reply, err := n.forward(ctx, req, fullMethod, target)
		if err != nil {
			if reply, err = errorReply(fullMethod, err); err != nil {
				return nil, err
			}
		}

		setNode(firstMessage(reply), target)

		if all == nil {
			all = reply
		} else {
			proto.Merge(all, reply)
		}
	}

	return all, nil
}

// forward runs a call on one other node.
func (n *node) forward(ctx context.Context, req any, fullMethod, target string) (proto.Message, error) {
	other, err := n.reach(target)
	if err != nil {
		return nil, n.refuseCall(phaseSecure, fullMethod, err)
	}

	reply, err := other.callUnary(ctx, req, fullMethod)
	if err != nil {
		return nil, err
	}

	return reply.(proto.Message), nil //nolint:forcetypeassert // handlers answer with messages
}

// errorReply is the aggregated answer of a node where the call failed.
func errorReply(fullMethod string, failure error) (proto.Message, error) {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(fullMethod, "/"), "/", "."))

	descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, failure
	}

	method, ok := descriptor.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, failure
	}

	replyType, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		return nil, failure
	}

	reply := replyType.New()
	field := reply.Descriptor().Fields().ByName("messages")

	if field == nil || !field.IsList() {
		return nil, failure
	}

	message := reply.Mutable(field).List().AppendMutable().Message()
	fail(message, failure)

	return reply.Interface(), nil
}

// firstMessage is the answer inside an aggregate of one.
func firstMessage(reply proto.Message) protoreflect.Message {
	message := reply.ProtoReflect()

	field := message.Descriptor().Fields().ByName("messages")
	if field == nil || !field.IsList() || message.Get(field).List().Len() == 0 {
		return nil
	}

	return message.Mutable(field).List().Get(0).Message()
}

// metadataOf returns an answer's metadata, making it where it can.
func metadataOf(message protoreflect.Message) *common.Metadata {
	if message == nil {
		return nil
	}

	field := message.Descriptor().Fields().ByName("metadata")
	if field == nil || field.Message() == nil {
		return nil
	}

	metadata, _ := message.Mutable(field).Message().Interface().(*common.Metadata)

	return metadata
}

// setNode writes the node's name into an answer.
func setNode(message protoreflect.Message, target string) {
	if md := metadataOf(message); md != nil {
		md.Hostname = target
	}
}

// fail writes an error into an answer.
func fail(message protoreflect.Message, failure error) {
	if md := metadataOf(message); md != nil {
		md.Error = failure.Error()
		md.Status = status.Convert(failure).Proto()
	}
}

// routeStream runs a streaming call where it belongs. Locks the fleet.
func (n *node) routeStream(ctx context.Context, stream grpc.ServerStream, fullMethod string, mode phase) error {
	way, err := n.routeOf(ctx, fullMethod, mode)
	if err != nil {
		return n.refuseCall(mode, fullMethod, err)
	}

	if len(way.targets) == 0 {
		return n.callStream(&routedStream{ServerStream: stream, ctx: ctx}, fullMethod)
	}

	for _, target := range way.targets {
		routed := &routedStream{ServerStream: stream, ctx: ctx}
		if way.aggregate {
			routed.target = target
		}

		err := n.forwardStream(routed, fullMethod, target)
		if err != nil && way.aggregate {
			err = routed.sendError(err)
		}

		if err != nil {
			return err
		}
	}

	return nil
}

// forwardStream runs a streaming call on one other node.
func (n *node) forwardStream(stream grpc.ServerStream, fullMethod, target string) error {
	other, err := n.reach(target)
	if err != nil {
		return n.refuseCall(phaseSecure, fullMethod, err)
	}

	return other.callStream(stream, fullMethod)
}

// routedStream is a stream with the caller's roles, whose messages carry the
// name of the node they come from.
type routedStream struct {
	grpc.ServerStream

	ctx    context.Context //nolint:containedctx // this is how gRPC passes it
	target string
}

// Context implements grpc.ServerStream.
func (s *routedStream) Context() context.Context {
	return s.ctx
}

// SendMsg implements grpc.ServerStream.
func (s *routedStream) SendMsg(message any) error {
	if s.target != "" {
		setNode(message.(proto.Message).ProtoReflect(), s.target) //nolint:forcetypeassert // gRPC sends messages
	}

	return s.ServerStream.SendMsg(message)
}

// sendError sends a failure as a message, as aggregated streams do.
func (s *routedStream) sendError(failure error) error {
	message := &common.Empty{}
	fail(message.ProtoReflect(), failure)

	return s.SendMsg(message)
}
