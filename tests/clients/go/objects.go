package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applyv1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/pager"
)

// Steps with objects alone.
var objectSteps = []step{
	{"discovery", discovery},
	{"create, list in pages", listInPages},
	{"watch from a version, with bookmarks", watchFromVersion},
	{"watch that lists", watchThatLists},
	{"patches", patches},
	{"server-side apply", serverSideApply},
	{"update of an old version", updateOfOldVersion},
	{"delete with preconditions", deleteWithPreconditions},
	{"delete a collection", deleteCollection},
	{"dynamic client", dynamicClient},
	{"metadata client", metadataClient},
	{"protobuf", protobuf},
	{"protobuf alone", protobufAlone},
}

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	paged      = metav1.ListOptions{LabelSelector: "paged=yes"}
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"paged": "yes"}},
		Data:       map[string]string{"a": "one", "b": "same"},
	}
}

func discovery(_ context.Context, on cluster) error {
	version, err := on.client.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	groups, err := restmapper.GetAPIGroupResources(on.client.Discovery())
	if err != nil {
		return err
	}
	mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(schema.GroupKind{Kind: "Pod"})
	if err != nil {
		return err
	}
	return ensure(strings.HasPrefix(version.GitVersion, "v1.34.") && mapping.Resource.Resource == "pods", "%v %v", version, mapping)
}

func listInPages(ctx context.Context, on cluster) error {
	maps := on.client.CoreV1().ConfigMaps(on.namespace)
	for i := range 5 {
		if _, err := maps.Create(ctx, configMap(fmt.Sprintf("page-%d", i)), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	var sizes []int
	for options := (metav1.ListOptions{LabelSelector: paged.LabelSelector, Limit: 2}); ; {
		page, err := maps.List(ctx, options)
		if err != nil {
			return err
		}
		sizes = append(sizes, len(page.Items))
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	if err := ensure(fmt.Sprint(sizes) == "[2 2 1]", "pages of %v", sizes); err != nil {
		return err
	}
	count := 0
	all := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return maps.List(ctx, options)
	})
	all.PageSize = 3
	err := all.EachListItem(ctx, paged, func(runtime.Object) error { count++; return nil })
	return errors.Join(err, ensure(count == 5, "the pager counts %d", count))
}

// The types of the events of a watch, until it ends or enough have come.
func eventTypes(watching watch.Interface, enough int) (types []watch.EventType, last watch.Event) {
	for last = range watching.ResultChan() {
		types = append(types, last.Type)
		if len(types) == enough {
			break
		}
	}
	watching.Stop()
	return types, last
}

func watchFromVersion(ctx context.Context, on cluster) error {
	maps := on.client.CoreV1().ConfigMaps(on.namespace)
	list, err := maps.List(ctx, paged)
	if err != nil {
		return err
	}
	seconds := int64(5)
	options := metav1.ListOptions{LabelSelector: "paged=yes", ResourceVersion: list.ResourceVersion, AllowWatchBookmarks: true, TimeoutSeconds: &seconds}
	watching, err := maps.Watch(ctx, options)
	if err != nil {
		return err
	}
	created, err := maps.Create(ctx, configMap("watched"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	created.Data["a"] = "two"
	if _, err := maps.Update(ctx, created, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := maps.Delete(ctx, "watched", metav1.DeleteOptions{}); err != nil {
		return err
	}
	// The bookmark comes before the time is over, and then the end.
	types, last := eventTypes(watching, 5)
	return ensure(fmt.Sprint(types) == "[ADDED MODIFIED DELETED BOOKMARK]", "events %v, the last %v", types, last)
}

func watchThatLists(ctx context.Context, on cluster) error {
	yes := true
	options := metav1.ListOptions{
		LabelSelector: "paged=yes", SendInitialEvents: &yes, AllowWatchBookmarks: true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}
	watching, err := on.client.CoreV1().ConfigMaps(on.namespace).Watch(ctx, options)
	if err != nil {
		return err
	}
	types, last := eventTypes(watching, 6)
	if err := ensure(fmt.Sprint(types) == "[ADDED ADDED ADDED ADDED ADDED BOOKMARK]", "events %v", types); err != nil {
		return err
	}
	ends := last.Object.(*corev1.ConfigMap).Annotations[metav1.InitialEventsAnnotationKey]
	return ensure(ends == "true", "the bookmark does not end the list: %v", last.Object)
}

func patches(ctx context.Context, on cluster) error {
	maps := on.client.CoreV1().ConfigMaps(on.namespace)
	for _, patch := range []struct {
		kind     types.PatchType
		text     string
		expected string
	}{
		{types.JSONPatchType, `[{"op": "replace", "path": "/data/a", "value": "json"}]`, "json"},
		{types.MergePatchType, `{"data": {"a": "merge"}}`, "merge"},
		{types.StrategicMergePatchType, `{"data": {"a": "strategic"}}`, "strategic"},
		{types.ApplyYAMLPatchType, "apiVersion: v1\nkind: ConfigMap\ndata: {a: apply}\n", "apply"},
	} {
		options := metav1.PatchOptions{FieldManager: "clients"}
		if patch.kind == types.ApplyYAMLPatchType {
			force := true
			options.Force = &force
		}
		patched, err := maps.Patch(ctx, "page-0", patch.kind, []byte(patch.text), options)
		if err != nil {
			return fmt.Errorf("%s: %w", patch.kind, err)
		}
		if err := ensure(patched.Data["a"] == patch.expected && patched.Data["b"] == "same", "%s: %v", patch.kind, patched.Data); err != nil {
			return err
		}
	}
	return nil
}

func serverSideApply(ctx context.Context, on cluster) error {
	maps := on.client.CoreV1().ConfigMaps(on.namespace)
	wish := func(value string) *applyv1.ConfigMapApplyConfiguration {
		return applyv1.ConfigMap("applied", on.namespace).WithData(map[string]string{"a": value})
	}
	if _, err := maps.Apply(ctx, wish("one"), metav1.ApplyOptions{FieldManager: "first"}); err != nil {
		return err
	}
	_, err := maps.Apply(ctx, wish("two"), metav1.ApplyOptions{FieldManager: "second"})
	if err := ensure(apierrors.IsConflict(err) && apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict), "no conflict: %v", err); err != nil {
		return err
	}
	applied, err := maps.Apply(ctx, wish("two"), metav1.ApplyOptions{FieldManager: "second", Force: true})
	if err != nil {
		return err
	}
	mine, err := applyv1.ExtractConfigMap(applied, "second")
	if err != nil {
		return err
	}
	return ensure(mine.Data["a"] == "two" && applied.Data["a"] == "two", "second has %v", mine.Data)
}

func updateOfOldVersion(ctx context.Context, on cluster) error {
	maps := on.client.CoreV1().ConfigMaps(on.namespace)
	old, err := maps.Get(ctx, "page-0", metav1.GetOptions{})
	if err != nil {
		return err
	}
	newer := old.DeepCopy()
	newer.Data["a"] = "newer"
	if _, err := maps.Update(ctx, newer, metav1.UpdateOptions{}); err != nil {
		return err
	}
	_, err = maps.Update(ctx, old, metav1.UpdateOptions{})
	return ensure(apierrors.IsConflict(err), "no conflict: %v", err)
}

func deleteWithPreconditions(ctx context.Context, on cluster) error {
	maps := on.client.CoreV1().ConfigMaps(on.namespace)
	found, err := maps.Get(ctx, "page-0", metav1.GetOptions{})
	if err != nil {
		return err
	}
	err = maps.Delete(ctx, "page-0", *metav1.NewPreconditionDeleteOptions("another"))
	if err := ensure(apierrors.IsConflict(err), "another's uid: %v", err); err != nil {
		return err
	}
	stale := "1"
	err = maps.Delete(ctx, "page-0", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &stale}})
	if err := ensure(apierrors.IsConflict(err), "an old version: %v", err); err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	options := metav1.NewPreconditionDeleteOptions(string(found.UID))
	options.PropagationPolicy = &background
	if err := maps.Delete(ctx, "page-0", *options); err != nil {
		return err
	}
	_, err = maps.Get(ctx, "page-0", metav1.GetOptions{})
	return ensure(apierrors.IsNotFound(err), "it is still there: %v", err)
}

func deleteCollection(ctx context.Context, on cluster) error {
	maps := on.client.CoreV1().ConfigMaps(on.namespace)
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, paged); err != nil {
		return err
	}
	left, err := maps.List(ctx, paged)
	return errors.Join(err, ensure(len(left.Items) == 0, "%d are left", len(left.Items)))
}

func dynamicClient(ctx context.Context, on cluster) error {
	client, err := dynamic.NewForConfig(on.config)
	if err != nil {
		return err
	}
	maps := client.Resource(configMaps).Namespace(on.namespace)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"a": "b"},
	}}
	if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	applied, err := maps.Apply(ctx, "dynamic", &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"c": "d"},
	}}, metav1.ApplyOptions{FieldManager: "clients"})
	if err != nil {
		return err
	}
	data, _, err := unstructured.NestedStringMap(applied.Object, "data")
	return errors.Join(err, ensure(data["a"] == "b" && data["c"] == "d", "%v", data))
}

func metadataClient(ctx context.Context, on cluster) error {
	client, err := metadata.NewForConfig(on.config)
	if err != nil {
		return err
	}
	found, err := client.Resource(configMaps).Namespace(on.namespace).Get(ctx, "dynamic", metav1.GetOptions{})
	if err != nil {
		return err
	}
	return ensure(found.Name == "dynamic" && found.UID != "" && len(found.ManagedFields) == 2, "%v", found)
}

// A client that speaks protobuf, and takes these types of answers.
func protobufClient(on cluster, accept string) (kubernetes.Interface, error) {
	config := rest.CopyConfig(on.config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = accept
	return kubernetes.NewForConfig(config)
}

func protobuf(ctx context.Context, on cluster) error {
	// As client-go has it by default, and as Kubernetes' own components set it.
	for i, accept := range []string{"", runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON} {
		client, err := protobufClient(on, accept)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("protobuf-%d", i)
		created, err := client.CoreV1().ConfigMaps(on.namespace).Create(ctx, configMap(name), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if err := ensure(created.Data["a"] == "one", "%v", created.Data); err != nil {
			return err
		}
	}
	return nil
}

func protobufAlone(ctx context.Context, on cluster) error {
	client, err := protobufClient(on, runtime.ContentTypeProtobuf)
	if err != nil {
		return err
	}
	// It cannot be answered; the refusal says what to set.
	_, err = client.CoreV1().ConfigMaps(on.namespace).List(ctx, metav1.ListOptions{})
	return ensure(apierrors.IsNotAcceptable(err) && strings.Contains(err.Error(), "AcceptContentTypes"), "%v", err)
}
