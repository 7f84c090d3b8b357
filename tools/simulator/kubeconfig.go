package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	stdx509 "crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Kubeconfig implements machine.MachineService.
func (s *machineService) Kubeconfig(_ *emptypb.Empty, stream machine.MachineService_KubeconfigServer) error {
	data, err := s.kubeconfig()
	if err != nil {
		return err
	}

	archive, err := tarball("kubeconfig", data)
	if err != nil {
		return err
	}

	return stream.Send(&common.Data{Bytes: archive})
}

// kubeconfig makes the administrator's kubeconfig of the node's cluster.
func (s *machineService) kubeconfig() ([]byte, error) {
	s.node.fleet.mu.Lock()
	defer s.node.fleet.mu.Unlock()

	if err := s.node.requireControlPlane("kubeconfig"); err != nil {
		return nil, err
	}

	return adminKubeconfig(s.node.active.Cluster())
}

// kubeconfigFile is the part of the kubeconfig format that is needed here.
type kubeconfigFile struct {
	APIVersion     string         `yaml:"apiVersion"`
	Kind           string         `yaml:"kind"`
	Clusters       []namedCluster `yaml:"clusters"`
	Contexts       []namedContext `yaml:"contexts"`
	CurrentContext string         `yaml:"current-context"`
	Users          []namedUser    `yaml:"users"`
}

// base64Data is binary data that YAML shows in base64.
type base64Data []byte

// MarshalYAML implements yaml.Marshaler.
func (d base64Data) MarshalYAML() (any, error) {
	return base64.StdEncoding.EncodeToString(d), nil
}

type namedCluster struct {
	Name    string `yaml:"name"`
	Cluster struct {
		CA     base64Data `yaml:"certificate-authority-data"`
		Server string     `yaml:"server"`
	} `yaml:"cluster"`
}

type namedContext struct {
	Name    string `yaml:"name"`
	Context struct {
		Cluster   string `yaml:"cluster"`
		Namespace string `yaml:"namespace"`
		User      string `yaml:"user"`
	} `yaml:"context"`
}

type namedUser struct {
	Name string `yaml:"name"`
	User struct {
		Certificate base64Data `yaml:"client-certificate-data"`
		Key         base64Data `yaml:"client-key-data"`
	} `yaml:"user"`
}

// adminKubeconfig issues a client certificate by the Kubernetes CA and wraps it
// for kubectl.
func adminKubeconfig(cluster config.ClusterConfig) ([]byte, error) {
	issuing := cluster.IssuingCA()
	if issuing == nil {
		return nil, errors.New("error getting Kubernetes CA: there is none in the machine configuration")
	}

	pair, err := adminPair(issuing, cluster.AdminKubeconfig())
	if err != nil {
		return nil, err
	}

	var authorities bytes.Buffer

	for _, ca := range append(cluster.AcceptedCAs(), &x509.PEMEncodedCertificate{Crt: issuing.Crt}) {
		authorities.Write(ca.Crt)
	}

	user, context := "admin@"+cluster.Name(), "admin@"+cluster.Name()
	file := kubeconfigFile{
		APIVersion:     "v1",
		Kind:           "Config",
		Clusters:       []namedCluster{{Name: cluster.Name()}},
		Contexts:       []namedContext{{Name: context}},
		CurrentContext: context,
		Users:          []namedUser{{Name: user}},
	}
	file.Clusters[0].Cluster.CA = authorities.Bytes()
	file.Clusters[0].Cluster.Server = cluster.Endpoint().String()
	file.Contexts[0].Context.Cluster = cluster.Name()
	file.Contexts[0].Context.Namespace = "default"
	file.Contexts[0].Context.User = user
	file.Users[0].User.Certificate = pair.CrtPEM
	file.Users[0].User.Key = pair.KeyPEM

	return yaml.Marshal(file)
}

// clockSkew is how far the clocks of node and kubectl may be apart.
const clockSkew = 10 * time.Second

// adminPair issues the administrator's certificate.
func adminPair(issuing *x509.PEMEncodedCertificateAndKey, admin config.AdminKubeconfig) (*x509.KeyPair, error) {
	ca, err := x509.NewCertificateAuthorityFromCertificateAndKey(issuing)
	if err != nil {
		return nil, fmt.Errorf("error getting Kubernetes CA: %w", err)
	}

	pair, err := x509.NewKeyPair(ca,
		x509.CommonName(admin.CommonName()),
		x509.Organization(admin.CertOrganization()),
		x509.NotBefore(time.Now().Add(-clockSkew)),
		x509.NotAfter(time.Now().Add(admin.CertLifetime())),
		x509.KeyUsage(stdx509.KeyUsageDigitalSignature|stdx509.KeyUsageKeyEncipherment),
		x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth}),
	)
	if err != nil {
		return nil, fmt.Errorf("error generating Kubernetes client certificate: %w", err)
	}

	return pair, nil
}

// tarball is a compressed archive of one private file.
func tarball(name string, data []byte) ([]byte, error) {
	var buffer bytes.Buffer

	compressed := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(compressed)

	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), ModTime: time.Now(), Mode: 0o600}
	if err := archive.WriteHeader(header); err != nil {
		return nil, err
	}

	if _, err := archive.Write(data); err != nil {
		return nil, err
	}

	if err := archive.Close(); err != nil {
		return nil, err
	}

	if err := compressed.Close(); err != nil {
		return nil, err
	}

	return buffer.Bytes(), nil
}
