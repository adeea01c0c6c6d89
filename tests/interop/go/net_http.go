package main

import (
	"bufio"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Stream follows a pipeline with net/http.
type Stream struct {
	URL    string
	Client http.Client
	// Handle receives each event, in order.
	Handle func(id, channel, data string)

	lastEventID string
	retry       time.Duration
}

// Follow reads the stream and reconnects, until the node refuses it.
func (s *Stream) Follow() error {
	s.retry = time.Second
	for {
		refused, err := s.read()
		if refused {
			return err
		}
		if err != nil {
			log.Printf("reconnecting: %v", err)
		}
		time.Sleep(s.retry)
	}
}

// read reads one answer to its end.
func (s *Stream) read() (refused bool, err error) {
	request, err := http.NewRequest(http.MethodGet, s.URL, nil)
	if err != nil {
		return true, err
	}
	request.Header.Set("Accept", "text/event-stream")
	if s.lastEventID != "" {
		request.Header.Set("Last-Event-ID", s.lastEventID)
	}
	answer, err := s.Client.Do(request)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return answer.StatusCode < 500, fmt.Errorf("answered %s", answer.Status)
	}

	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, longestLine)
	fields := map[string]string{}
	for lines.Scan() {
		if name, value, found := strings.Cut(lines.Text(), ":"); found {
			fields[name] = strings.TrimPrefix(value, " ")
		} else if lines.Text() == "" {
			s.take(fields)
			clear(fields)
		}
	}
	return false, lines.Err()
}

// take handles a complete block: an event, a retry: or both.
func (s *Stream) take(fields map[string]string) {
	if milliseconds, err := strconv.Atoi(fields["retry"]); err == nil {
		s.retry = time.Duration(milliseconds) * time.Millisecond
	}
	if id, found := fields["id"]; found {
		s.lastEventID = id
	}
	if data, found := fields["data"]; found {
		s.Handle(s.lastEventID, fields["event"], data)
	}
}

// followWithNetHTTP reads with net/http, which asks for gzip and decompresses; GZIP=off disables that.
func followWithNetHTTP(url string) {
	stream := Stream{URL: url, Handle: printMessage}
	stream.Client.Transport = &http.Transport{DisableCompression: os.Getenv("GZIP") == "off"}
	printError(stream.Follow())
}
