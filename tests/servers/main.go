// The real servers that castlink is tried on, in one program that is whichever its
// name says (etcd, kube-apiserver, kubectl, …), as hyperkube was: one module compiles
// the packages they share once, and one link takes the place of six.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

var programs = map[string]func(){
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          apiServer,
	"kube-controller-manager": controllerManager,
	"kube-scheduler":          scheduler,
	"kubectl":                 kubectl,
	"registry":                registry,
}

func main() {
	name := filepath.Base(os.Args[0])
	run, ok := programs[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no program %q in here: call it by the name of one\n", name)
		os.Exit(2)
	}
	run()
}
