package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// Steps with running pods.
var streamSteps = []step{
	{"run pods", runPods},
	{"exec over SPDY", func(ctx context.Context, on cluster) error { return execs(ctx, on, spdyExecutor) }},
	{"exec over WebSocket", func(ctx context.Context, on cluster) error { return execs(ctx, on, webSocketExecutor) }},
	{"attach", attach},
	{"logs, followed", logsFollowed},
	{"port-forward over SPDY", func(ctx context.Context, on cluster) error { return forward(ctx, on, spdyDialer) }},
	{"port-forward over WebSocket", func(ctx context.Context, on cluster) error { return forward(ctx, on, webSocketDialer) }},
}

func pod(name string, container corev1.Container) *corev1.Pod {
	container.Name = name
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{container}}}
}

func runPods(ctx context.Context, on cluster) error {
	talks := "echo line 1; until test -e /go; do sleep 0.1; done; echo line 2; sleep 10000"
	for _, wanted := range []*corev1.Pod{
		pod("box", corev1.Container{Image: "busybox", Command: []string{"sh", "-c", talks}}),
		pod("shell", corev1.Container{Image: "busybox", Command: []string{"sh"}, Stdin: true, TTY: true}),
		pod("web", corev1.Container{Image: "registry.example/httpd:1"}),
	} {
		if _, err := on.client.CoreV1().Pods(on.namespace).Create(ctx, wanted, metav1.CreateOptions{}); err != nil {
			return err
		}
		if err := waitUntilReady(ctx, on, wanted.Name); err != nil {
			return fmt.Errorf("%s: %w", wanted.Name, err)
		}
	}
	return nil
}

func waitUntilReady(ctx context.Context, on cluster, name string) error {
	one := fields.OneTermEqualSelector("metadata.name", name)
	pods := cache.NewListWatchFromClient(on.client.CoreV1().RESTClient(), "pods", on.namespace, one)
	_, err := watchtools.UntilWithSync(ctx, pods, &corev1.Pod{}, nil, func(event watch.Event) (bool, error) {
		for _, condition := range event.Object.(*corev1.Pod).Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
	return err
}

func streamURL(on cluster, name, subresource string, options any) *url.URL {
	request := on.client.CoreV1().RESTClient().Get().Resource("pods").Namespace(on.namespace).Name(name).SubResource(subresource)
	switch options := options.(type) {
	case *corev1.PodExecOptions:
		request.VersionedParams(options, scheme.ParameterCodec)
	case *corev1.PodAttachOptions:
		request.VersionedParams(options, scheme.ParameterCodec)
	}
	return request.URL()
}

type newExecutor func(*rest.Config, *url.URL) (remotecommand.Executor, error)

func spdyExecutor(config *rest.Config, to *url.URL) (remotecommand.Executor, error) {
	return remotecommand.NewSPDYExecutor(config, http.MethodPost, to)
}

func webSocketExecutor(config *rest.Config, to *url.URL) (remotecommand.Executor, error) {
	return remotecommand.NewWebSocketExecutor(config, http.MethodGet, to.String())
}

// Sizes of a terminal, one after the other; then none until the session ends.
type sizes struct {
	next []remotecommand.TerminalSize
	ctx  context.Context
}

func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(s.next) == 0 {
		<-s.ctx.Done()
		return nil
	}
	size := s.next[0]
	s.next = s.next[1:]
	return &size
}

func execs(ctx context.Context, on cluster, connect newExecutor) error {
	run := func(tty bool, stdin, script string, size remotecommand.TerminalSizeQueue) (string, string, error) {
		options := &corev1.PodExecOptions{Command: []string{"sh", "-c", script}, Stdin: true, Stdout: true, Stderr: !tty, TTY: tty}
		executor, err := connect(on.config, streamURL(on, "box", "exec", options))
		if err != nil {
			return "", "", err
		}
		var out, failures bytes.Buffer
		streams := remotecommand.StreamOptions{Stdin: strings.NewReader(stdin), Stdout: &out, Tty: tty, TerminalSizeQueue: size}
		if !tty {
			streams.Stderr = &failures
		}
		err = executor.StreamWithContext(ctx, streams)
		return out.String(), failures.String(), err
	}
	out, failures, err := run(false, "shout", "tr a-z A-Z; echo err >&2; exit 7", nil)
	var ended exec.CodeExitError
	if err := ensure(errors.As(err, &ended) && ended.Code == 7 && out == "SHOUT" && failures == "err\n", "%q, %q, %v", out, failures, err); err != nil {
		return err
	}
	done, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := &sizes{[]remotecommand.TerminalSize{{Width: 101, Height: 33}, {Width: 122, Height: 44}}, done}
	resized := "until stty size | grep -q '^44 122$'; do sleep 0.1; done; tty; echo resized"
	out, _, err = run(true, "", resized, queue)
	return errors.Join(err, ensure(strings.Contains(out, "/dev/pts/") && strings.Contains(out, "resized"), "%q", out))
}

func attach(ctx context.Context, on cluster) error {
	options := &corev1.PodAttachOptions{Stdin: true, Stdout: true, TTY: true}
	executor, err := webSocketExecutor(on.config, streamURL(on, "shell", "attach", options))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	streams := remotecommand.StreamOptions{Stdin: strings.NewReader("echo at-$((1+1))\nexit\n"), Stdout: &out, Tty: true}
	err = executor.StreamWithContext(ctx, streams)
	return errors.Join(err, ensure(strings.Contains(out.String(), "at-2"), "%q", out.String()))
}

func logsFollowed(ctx context.Context, on cluster) error {
	logs, err := on.client.CoreV1().Pods(on.namespace).GetLogs("box", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer logs.Close()
	lines := bufio.NewScanner(logs)
	if err := ensure(lines.Scan() && lines.Text() == "line 1", "first %q, %v", lines.Text(), lines.Err()); err != nil {
		return err
	}
	options := &corev1.PodExecOptions{Command: []string{"touch", "/go"}, Stdout: true}
	executor, err := webSocketExecutor(on.config, streamURL(on, "box", "exec", options))
	if err != nil {
		return err
	}
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard}); err != nil {
		return err
	}
	return ensure(lines.Scan() && lines.Text() == "line 2", "then %q, %v", lines.Text(), lines.Err())
}

type newDialer func(*rest.Config, *url.URL) (httpstream.Dialer, error)

func spdyDialer(config *rest.Config, to *url.URL) (httpstream.Dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, to), nil
}

func webSocketDialer(config *rest.Config, to *url.URL) (httpstream.Dialer, error) {
	return portforward.NewSPDYOverWebsocketDialer(to, config)
}

func forward(ctx context.Context, on cluster, connect newDialer) error {
	dialer, err := connect(on.config, streamURL(on, "web", "portforward", nil))
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	forwarder, err := portforward.New(dialer, []string{"0:8080"}, ctx.Done(), ready, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	defer forwarder.Close()
	select {
	case err := <-ended:
		return fmt.Errorf("it ended: %w", err)
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return errors.Join(err, ensure(strings.Contains(string(body), "hello from user 65532"), "%q", body))
}
