package main

import (
	"bytes"
	"crypto/tls"
	stdx509 "crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
)

// identity is what a node proves itself with, and whom it lets in.
type identity struct {
	certificate tls.Certificate
	// clientCAs is nil in maintenance mode, where nobody is asked.
	clientCAs *stdx509.CertPool
}

// certificateLifetime is longer than any demonstration.
const certificateLifetime = 30 * 24 * time.Hour

// newMaintenanceIdentity makes the self-signed identity of one boot into
// maintenance mode and returns it with the fingerprint talosctl can check.
func newMaintenanceIdentity(address netip.Addr) (*identity, string, error) {
	ca, err := x509.NewSelfSignedCertificateAuthority(x509.ECDSA(true))
	if err != nil {
		return nil, "", err
	}

	pair, err := x509.NewKeyPair(ca, serverOptions(address, constants.MaintenanceServiceCommonName, nil)...)
	if err != nil {
		return nil, "", err
	}

	fingerprint, err := x509.SPKIFingerprintFromPEM(pair.CrtPEM)
	if err != nil {
		return nil, "", err
	}

	return &identity{certificate: *pair.Certificate}, fingerprint.String(), nil
}

// newSecureIdentity issues a server certificate by issuer for a node that
// accepts the clients of the given authorities.
func newSecureIdentity(
	address netip.Addr,
	hostname string,
	sans []string,
	issuer *x509.PEMEncodedCertificateAndKey,
	accepted []*x509.PEMEncodedCertificate,
) (*identity, error) {
	ca, err := x509.NewCertificateAuthorityFromCertificateAndKey(issuer)
	if err != nil {
		return nil, fmt.Errorf("machine CA: %w", err)
	}

	pair, err := x509.NewKeyPair(ca, serverOptions(address, hostname, sans)...)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}

	pool := stdx509.NewCertPool()

	for _, authority := range accepted {
		if !pool.AppendCertsFromPEM(authority.Crt) {
			return nil, errors.New("an accepted CA is not a certificate")
		}
	}

	return &identity{certificate: *pair.Certificate, clientCAs: pool}, nil
}

// serverOptions describes the server certificate of a node.
func serverOptions(address netip.Addr, name string, sans []string) []x509.Option {
	addresses := []net.IP{address.AsSlice()}
	names := []string{name}

	for _, san := range sans {
		if ip := net.ParseIP(san); ip != nil {
			addresses = append(addresses, ip)
		} else if !slices.Contains(names, san) {
			names = append(names, san)
		}
	}

	return []x509.Option{
		x509.CommonName(name),
		x509.IPAddresses(addresses),
		x509.DNSNames(names),
		x509.NotAfter(time.Now().Add(certificateLifetime)),
		x509.KeyUsage(stdx509.KeyUsageDigitalSignature),
		x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageServerAuth}),
	}
}

// tlsConfig is the server side of one connection.
func (id *identity) tlsConfig() *tls.Config {
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2"},
		Certificates: []tls.Certificate{id.certificate},
	}

	if id.clientCAs != nil {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
		cfg.ClientCAs = id.clientCAs
		cfg.VerifyPeerCertificate = requireClientUsage
	}

	return cfg
}

// requireClientUsage refuses certificates that were not made for clients, such
// as a server certificate of another node.
func requireClientUsage(_ [][]byte, chains [][]*stdx509.Certificate) error {
	if len(chains) == 0 {
		return errors.New("no verified chains")
	}

	leaf := chains[0][0]
	if !slices.Equal(leaf.ExtKeyUsage, []stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth}) {
		return fmt.Errorf("certificate %q is not meant for clients", leaf.Subject)
	}

	return nil
}

// acceptedCAs lists the authorities whose clients a configuration lets in; the
// issuing one is the last.
func acceptedCAs(security config.Security) []*x509.PEMEncodedCertificate {
	accepted := slices.Clone(security.AcceptedCAs())

	if issuing := security.IssuingCA(); issuing != nil {
		accepted = append(accepted, &x509.PEMEncodedCertificate{Crt: issuing.Crt})
	}

	return accepted
}

// canIssue tells whether the configuration holds the machine CA's key.
func canIssue(security config.Security) bool {
	issuing := security.IssuingCA()

	return issuing != nil && len(issuing.Crt) > 0 && len(issuing.Key) > 0
}

// trustsIssuer tells whether a worker with the security settings would take a
// certificate from a control plane's trustd: same CA, same token.
func trustsIssuer(worker, controlPlane config.Security) bool {
	if !canIssue(controlPlane) || worker.Token() != controlPlane.Token() {
		return false
	}

	return slices.ContainsFunc(acceptedCAs(worker), func(ca *x509.PEMEncodedCertificate) bool {
		return bytes.Equal(bytes.TrimSpace(ca.Crt), bytes.TrimSpace(controlPlane.IssuingCA().Crt))
	})
}
