package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/cosi-project/runtime/pkg/state/protobuf/server"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// endpoint is a node's API during one boot.
type endpoint struct {
	server   *grpc.Server
	services serviceTable

	listener *trackedListener
	// lost: the port could not be opened again; do not try for ever.
	lost bool
}

// openEndpoint starts to answer on the node's address.
func (n *node) openEndpoint() error {
	services := newServiceTable(
		&machineService{node: n},
		imageService{},
		&lifecycleService{node: n},
		&storageService{node: n},
		server.NewState(filteredResources(n.resources)),
	)

	n.endpoint = &endpoint{
		services: services,
		server: grpc.NewServer(
			grpc.Creds(credentials.NewTLS(&tls.Config{
				MinVersion:         tls.VersionTLS13,
				GetConfigForClient: n.connectionConfig,
			})),
			grpc.MaxRecvMsgSize(constants.GRPCMaxMessageSize),
			grpc.SharedWriteBuffer(true),
			grpc.UnaryInterceptor(n.interceptUnary),
			grpc.StreamInterceptor(n.interceptStream),
		),
	}

	services.register(n.endpoint.server)

	if n.fleet.faults.refused(n.spec.address) {
		return nil
	}

	return n.listen()
}

// listen opens the port.
func (n *node) listen() error {
	address := netip.AddrPortFrom(n.spec.address, apiPort).String()

	tcp, err := net.Listen("tcp", address)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%s is taken by another process", address)
		}

		return fmt.Errorf("%s: %w", address, err)
	}

	n.endpoint.listener = &trackedListener{
		Listener: tcp,
		refuse:   func() bool { return n.fleet.faults.refuseConnection(n.spec.address) },
		conns:    map[string]net.Conn{},
	}

	go n.endpoint.server.Serve(n.endpoint.listener) //nolint:errcheck // ends with the listener

	return nil
}

// shutEndpoint closes the port and all connections.
func (n *node) shutEndpoint() {
	if n.endpoint == nil {
		return
	}

	if n.endpoint.listener != nil {
		n.endpoint.listener.shut()
	}

	go n.endpoint.server.Stop()

	n.endpoint = nil
}

// applyRefusal closes or opens the port as the faults want it.
func (n *node) applyRefusal() {
	if n.endpoint == nil {
		return
	}

	switch refused := n.fleet.faults.refused(n.spec.address); {
	case refused && n.endpoint.listener != nil:
		n.endpoint.listener.shut()
		n.endpoint.listener = nil
	case !refused && n.endpoint.listener == nil && !n.endpoint.lost:
		if err := n.listen(); err != nil {
			n.endpoint.lost = true
			n.fleet.logf("%s: %v", n.spec.address, err)
		}
	}
}

// connectionConfig chooses the certificate of one connection. It locks the
// fleet.
func (n *node) connectionConfig(*tls.ClientHelloInfo) (*tls.Config, error) {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()

	id := n.identity

	if n.fleet.faults.wrongCertificate(n.spec.address) {
		foreign, _, err := newMaintenanceIdentity(n.spec.address)
		if err != nil {
			return nil, err
		}

		id = &identity{certificate: foreign.certificate, clientCAs: id.clientCAs}
	}

	return id.tlsConfig(), nil
}

// trackedListener knows its connections, so that they can be cut.
type trackedListener struct {
	net.Listener

	refuse func() bool

	mu    sync.Mutex
	conns map[string]net.Conn
}

// Accept implements net.Listener.
func (l *trackedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}

		if l.refuse() {
			reset(conn)

			continue
		}

		key := conn.RemoteAddr().String()

		l.mu.Lock()
		l.conns[key] = conn
		l.mu.Unlock()

		return &trackedConn{Conn: conn, forget: func() { l.forget(key) }}, nil
	}
}

// cut breaks the connection from a remote address.
func (l *trackedListener) cut(remote string) {
	l.mu.Lock()
	conn := l.conns[remote]
	l.mu.Unlock()

	if conn != nil {
		reset(conn)
	}
}

// shut closes the port and breaks all connections.
func (l *trackedListener) shut() {
	l.Listener.Close() //nolint:errcheck // closed twice at worst

	l.mu.Lock()
	defer l.mu.Unlock()

	for _, conn := range l.conns {
		reset(conn)
	}
}

func (l *trackedListener) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()

	delete(l.conns, key)
}

// reset closes a connection the rude way: what was not sent yet is lost.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // closed anyway
	}

	conn.Close() //nolint:errcheck // closed twice at worst
}

// trackedConn leaves its listener's list when it is closed.
type trackedConn struct {
	net.Conn

	forget func()
}

// lingerTime is how long a closed connection still takes what the client sends.
const lingerTime = time.Second

// Close implements net.Conn. It lets the client read what was sent last, such
// as why it is turned away: closing with unread input would throw that away.
func (c *trackedConn) Close() error {
	c.forget()

	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil {
		return c.Conn.Close()
	}

	go func() {
		tcp.SetReadDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // closed right after
		io.Copy(io.Discard, tcp)                        //nolint:errcheck // nobody wants it
		tcp.Close()                                     //nolint:errcheck // closed twice at worst
	}()

	return nil
}
