package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
)

// What controllers are made of.
var machinerySteps = []step{
	{"informer", informer},
	{"leader election", leaderElection},
	{"event recorder", eventRecorder},
}

// Counts the requests that list in a watch, and those that list as ever.
type counting struct {
	next           http.RoundTripper
	watches, lists *atomic.Int32
}

func (c counting) RoundTrip(request *http.Request) (*http.Response, error) {
	if query := request.URL.Query(); query.Get("sendInitialEvents") == "true" {
		c.watches.Add(1)
	} else if request.Method == http.MethodGet && query.Get("watch") == "" {
		c.lists.Add(1)
	}
	return c.next.RoundTrip(request)
}

func informer(ctx context.Context, on cluster) error {
	var watches, lists atomic.Int32
	config := rest.CopyConfig(on.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counting{next, &watches, &lists} })
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(on.namespace))
	maps := factory.Core().V1().ConfigMaps()
	seen := make(chan string, 100)
	_, err = maps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { seen <- "+" + object.(*corev1.ConfigMap).Name },
		DeleteFunc: func(object any) { seen <- "-" + object.(*corev1.ConfigMap).Name },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("%v was not listed", kind)
		}
	}
	if _, err := maps.Lister().ConfigMaps(on.namespace).Get("dynamic"); err != nil {
		return err
	}
	own := on.client.CoreV1().ConfigMaps(on.namespace)
	if _, err := own.Create(ctx, configMap("informed"), metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := own.Delete(ctx, "informed", metav1.DeleteOptions{}); err != nil {
		return err
	}
	for _, expected := range []string{"+informed", "-informed"} {
		for told := ""; told != expected; {
			select {
			case told = <-seen:
			case <-ctx.Done():
				return fmt.Errorf("never told of %s", expected)
			}
		}
	}
	return ensure(watches.Load() == 1 && lists.Load() == 0, "%d watches that list, %d lists", watches.Load(), lists.Load())
}

func leaderElection(ctx context.Context, on cluster) error {
	leads := make(chan string, 2)
	candidate := func(ctx context.Context, name string) error {
		lock, err := resourcelock.New(resourcelock.LeasesResourceLock, on.namespace, "leader",
			on.client.CoreV1(), on.client.CoordinationV1(), resourcelock.ResourceLockConfig{Identity: name})
		if err != nil {
			return err
		}
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 200 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { leads <- name }, OnStoppedLeading: func() {}},
		})
		if err != nil {
			return err
		}
		go elector.Run(ctx)
		return nil
	}
	leader := func(expected string) error {
		select {
		case name := <-leads:
			return ensure(name == expected, "%s leads", name)
		case <-ctx.Done():
			return fmt.Errorf("%s never leads", expected)
		}
	}
	first, resign := context.WithCancel(ctx)
	defer resign()
	if err := candidate(first, "first"); err != nil {
		return err
	}
	if err := leader("first"); err != nil {
		return err
	}
	if err := candidate(ctx, "second"); err != nil {
		return err
	}
	resign()
	return leader("second")
}

func eventRecorder(ctx context.Context, on cluster) error {
	box, err := on.client.CoreV1().Pods(on.namespace).Get(ctx, "box", metav1.GetOptions{})
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: on.client.CoreV1().Events(on.namespace)})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "clients"})
	watching, err := on.client.CoreV1().Events(on.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "reason=Recorded"})
	if err != nil {
		return err
	}
	defer watching.Stop()
	// The second is a patch of the first.
	for range 2 {
		recorder.Event(box, corev1.EventTypeNormal, "Recorded", "twice")
	}
	counts := []string{}
	for event := range watching.ResultChan() {
		counts = append(counts, fmt.Sprint(event.Type, event.Object.(*corev1.Event).Count))
		if len(counts) == 2 {
			break
		}
	}
	return ensure(strings.Join(counts, " ") == "ADDED1 MODIFIED2", "%v", counts)
}
