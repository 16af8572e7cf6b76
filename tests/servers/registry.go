package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"

	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

// registry serves the reference OCI registry (CNCF distribution) as its own
// `registry serve CONFIG` does, with the two parts the sandbox uses. The original
// main package also links every cloud's storage SDK.
func registry() {
	if err := serve(os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func serve(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	config, err := configuration.Parse(file)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", config.HTTP.Addr)
	if err != nil {
		return err
	}
	app := handlers.NewApp(context.Background(), config)
	if config.HTTP.TLS.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(config.HTTP.TLS.Certificate, config.HTTP.TLS.Key)
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{
			Certificates: []tls.Certificate{pair},
			NextProtos:   []string{"http/1.1"},
		})
	}
	return http.Serve(listener, app)
}
