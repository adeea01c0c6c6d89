# frozen_string_literal: true

require "socket"

# A web server in place of a node: it answers each request with the next of its answers, and repeats the last one.
#
# An answer is `[status, headers, body]`. A body that responds to `call` gets the socket and writes itself.
class WebServer
  Request = Struct.new(:line, :headers, :body)

  attr_reader :url, :requests

  def initialize(*answers)
    @answers = answers
    @requests = []
    @listener = TCPServer.new("127.0.0.1", 0)
    @url = "http://127.0.0.1:#{@listener.addr[1]}"
    @accepting = Thread.new { loop { serve(@listener.accept) } }
  end

  def keys
    requests.map { |request| request.headers["idempotency-key"] }
  end

  def stop
    @accepting.kill.join
    @listener.close
  end

  private

  def serve(client)
    Thread.new do
      line = client.gets
      headers = {}
      while (header = client.gets&.chomp) && !header.empty?
        name, value = header.split(": ", 2)
        headers[name.downcase] = value
      end
      @requests << Request.new(line, headers, client.read(headers["content-length"].to_i))
      answer(client, *(@answers.size > 1 ? @answers.shift : @answers.first))
    rescue IOError, SystemCallError
      # The client has left.
    ensure
      client.close
    end
  end

  def answer(client, status, headers, body)
    headers = { "Content-Length" => body.bytesize }.merge(headers) if body.is_a?(String)
    client.write("HTTP/1.1 #{status} X\r\nConnection: close\r\n#{headers.map { |name, value| "#{name}: #{value}\r\n" }.join}\r\n")
    body.is_a?(String) ? client.write(body) : body.call(client)
  end
end
