package main

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/cosi-project/runtime/pkg/state/registry"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// newDefinitions makes the namespaces and resource types that all nodes know.
func newDefinitions() (state.CoreState, error) {
	ctx := context.Background()
	definitions := inmem.NewState(meta.NamespaceName)
	st := newResources(definitions)

	namespaces := registry.NewNamespaceRegistry(st)
	if err := namespaces.RegisterDefault(ctx); err != nil {
		return nil, err
	}

	for _, namespace := range talosNamespaces {
		if err := namespaces.Register(ctx, namespace, "Talos "+namespace+" resources (simulated)."); err != nil {
			return nil, err
		}
	}

	types := registry.NewResourceRegistry(st)
	if err := types.RegisterDefault(ctx); err != nil {
		return nil, err
	}

	for _, resourceType := range talosResources {
		if err := types.Register(ctx, resourceType); err != nil {
			return nil, err
		}
	}

	return definitions, nil
}

// newResources makes the state of one boot of one node.
func newResources(definitions state.CoreState) state.State {
	return state.WrapCore(namespaced.NewState(func(namespace resource.Namespace) state.CoreState {
		if namespace == meta.NamespaceName {
			return definitions
		}

		return inmem.NewStateWithOptions(inmem.WithHistoryInitialCapacity(4), inmem.WithHistoryMaxCapacity(64))(namespace)
	}))
}

// filteredResources lets callers see what their roles allow, and change
// nothing.
func filteredResources(st state.State) state.CoreState {
	return state.WrapCore(state.Filter(st, func(ctx context.Context, access state.Access) error {
		if !access.Verb.Readonly() {
			return status.Error(codes.PermissionDenied, "write access is not allowed")
		}

		if err := checkSensitivity(ctx, st, access.ResourceType); err != nil {
			return err
		}

		namespace := resource.NewMetadata(meta.NamespaceName, meta.NamespaceType, access.ResourceNamespace, resource.VersionUndefined)
		if _, err := st.Get(ctx, namespace); err != nil {
			return unknownAs(err, "namespace %q is not supported", access.ResourceNamespace)
		}

		return nil
	}))
}

// checkSensitivity lets only administrators read secrets.
func checkSensitivity(ctx context.Context, st state.State, resourceType resource.Type) error {
	id := strings.ToLower(resourceType)

	definition, err := safe.StateGet[*meta.ResourceDefinition](ctx, st,
		resource.NewMetadata(meta.NamespaceName, meta.ResourceDefinitionType, id, resource.VersionUndefined))
	if err != nil {
		return unknownAs(err, "resource type %q is not supported", resourceType)
	}

	if definition.TypedSpec().Sensitivity != meta.NonSensitive && !rolesOf(ctx).Includes(role.Admin) {
		return errNotAuthorized
	}

	return nil
}

// unknownAs turns "not found" into the refusal of something unknown.
func unknownAs(err error, format, name string) error {
	if state.IsNotFoundError(err) {
		return status.Error(codes.PermissionDenied, fmt.Sprintf(format, name))
	}

	return err
}

// publish brings a node's resources up to date.
func (n *node) publish() {
	if n.resources == nil || n.endpoint == nil {
		return
	}

	ctx := context.Background()
	gone := n.published
	n.published = map[string]resource.Resource{}

	for _, wanted := range n.wantedResources() {
		key := wanted.Metadata().String()
		old := gone[key]
		delete(gone, key)

		n.published[key] = wanted

		if old != nil && reflect.DeepEqual(old.Spec(), wanted.Spec()) {
			continue
		}

		if err := upsert(ctx, n.resources, wanted); err != nil {
			n.fleet.logf("%s: %v", n.spec.address, err)
		}
	}

	for _, old := range gone {
		if err := n.resources.Destroy(ctx, old.Metadata()); err != nil {
			n.fleet.logf("%s: %v", n.spec.address, err)
		}
	}
}

// upsert creates or replaces a resource.
func upsert(ctx context.Context, st state.State, wanted resource.Resource) error {
	current, err := st.Get(ctx, wanted.Metadata())
	if state.IsNotFoundError(err) {
		return st.Create(ctx, wanted.DeepCopy())
	}

	if err != nil {
		return err
	}

	changed := wanted.DeepCopy()
	changed.Metadata().SetVersion(current.Metadata().Version())

	return st.Update(ctx, changed)
}
