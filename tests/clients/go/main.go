// Command clients does with client-go what programs around Kubernetes do, in a namespace of its own: one step after another, each told as
// "ok NAME" or "FAILED NAME: why". tests/tests/root_clients plays it against a node.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How long a step may take.
const patience = 60 * time.Second

// What a step works on.
type cluster struct {
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
}

type step struct {
	name string
	do   func(context.Context, cluster) error
}

func main() {
	// Informers then list by a watch, which client-go 0.34 does only when asked.
	os.Setenv("KUBE_FEATURE_WatchListClient", "true")
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: clients NAMESPACE")
		os.Exit(2)
	}
	on, err := connect(os.Args[1])
	if err != nil {
		fmt.Println("FAILED connect:", err)
		os.Exit(1)
	}
	failed := 0
	for _, step := range slices.Concat(objectSteps, streamSteps, machinerySteps) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if err := step.do(ctx, on); err != nil {
			failed++
			fmt.Printf("FAILED %s: %v\n", step.name, err)
		} else {
			fmt.Println("ok", step.name)
		}
		cancel()
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func connect(namespace string) (cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return cluster{}, err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	return cluster{config, client, namespace}, err
}

// A condition that must hold.
func ensure(holds bool, format string, values ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, values...)
}
