# frozen_string_literal: true

require "json"
require "net/http"
require "openssl"
require "time"

require_relative "version"

module Pipecast
  # What publishers and subscribers share of HTTP.
  #
  # @api private
  module Http
    USER_AGENT = "pipecast-ruby/#{VERSION}"

    # What Net::HTTP raises when a connection fails. Not StandardError, which would hide errors of this gem.
    FAILURES = [
      IOError, SystemCallError, SocketError, Timeout::Error, OpenSSL::SSL::SSLError, Net::ProtocolError, Net::HTTPBadResponse,
      Net::HTTPHeaderSyntaxError
    ].freeze

    # A connection to one node or load balancer.
    class Connection < Net::HTTP
      # @param uri [URI::HTTP]
      # @param timeout [Numeric] seconds to wait for the connection, and for each piece of a response
      def self.open(uri, timeout)
        connection = new(uri.hostname, uri.port)
        connection.use_ssl = uri.is_a?(URI::HTTPS)
        # Net::HTTP would repeat a GET that was cut, without a delay and with the old resume point: events would come twice.
        connection.max_retries = 0
        # Publishers have a shorter limit of their own, see Connections.
        connection.keep_alive_timeout = 60
        connection.open_timeout = connection.write_timeout = connection.read_timeout = timeout
        connection.start
      end

      # Ends a read of another thread, or of the code that a signal handler has interrupted. Closing the socket does not: its
      # number could be used for another file while the read still waits for it. It also ends a connection of which a forked
      # process has a copy.
      def interrupt
        @socket&.io&.to_io&.shutdown
      rescue IOError, SystemCallError
        # It is closed or was cut.
      end

      # Closes the connection, whatever has been read of its response.
      def drop
        interrupt
        finish if started?
      rescue IOError, SystemCallError, OpenSSL::SSL::SSLError
        # It was cut.
      end
    end

    # A timeout is not the request's fault, and load balancers send 502 and 504. A node would repeat its 500.
    def self.temporary?(status)
      [408, 429].include?(status) || status > 500
    end

    # @return [Float] seconds from a Retry-After header, which has seconds or a date (RFC 9110, 10.2.3)
    def self.retry_after(response)
      header = response["Retry-After"].to_s
      return header.to_f if header.match?(/\A\d+\z/)

      [Time.httpdate(header) - Time.now, 0.0].max
    rescue ArgumentError
      0.0
    end

    # @return [String] at most `most` bytes of a body: it may be endless
    def self.beginning(response, most)
      text = +""
      response.read_body do |piece|
        text << piece.byteslice(0, most - text.bytesize)
        return text if text.bytesize >= most
      end
      text
    end

    # @return [String, nil] the `detail` of a problem document (RFC 9457)
    def self.detail(text)
      detail = member(text, "detail")
      detail if detail.is_a?(String)
    end

    def self.member(text, name)
      object = JSON.parse(text.dup.force_encoding(Encoding::UTF_8))
      object[name] if object.is_a?(Hash)
    rescue JSON::ParserError, EncodingError
      nil
    end

    # @return [String] why a response is neither an acknowledgement nor a stream
    def self.rejection(uri, response, detail)
      "#{response.code}: #{detail || "#{uri} #{redirect(uri, response) || 'sent a response that is not from a Pipecast node'}"}"
    end

    # Only the origin: the rest may hold a secret.
    def self.redirect(uri, response)
      return unless response.is_a?(Net::HTTPRedirection) && response["Location"]

      target = URI.join(uri.to_s, response["Location"])
      port = ":#{target.port}" unless target.port == target.default_port
      "redirects to #{target.scheme}://#{target.host}#{port}, which is not followed; use that as the url" if target.host
    rescue URI::Error
      nil
    end
    private_class_method :redirect
  end
  private_constant :Http
end
