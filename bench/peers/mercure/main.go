// Mercure's hub, served by Go's own HTTP server, as one side of bench/run: `mercure -listen 127.0.0.1:7400 -heartbeat 15s`.
//
// Updates are kept in memory by the local transport, which has no history. Publishers need a JWT signed with $MERCURE_KEY.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/dunglas/mercure"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7400", "address")
	heartbeat := flag.Duration("heartbeat", 40*time.Second, "interval of keepalive comments")
	flag.Parse()
	hub, err := mercure.NewHub(
		context.Background(),
		mercure.WithAnonymous(),
		mercure.WithPublisherJWT([]byte(os.Getenv("MERCURE_KEY")), "HS256"),
		mercure.WithHeartbeat(*heartbeat),
		// The others write no line per stream and event either.
		mercure.WithLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(*listen, hub))
}
