# frozen_string_literal: true

require "uri"

module Pipecast
  DEFAULT_URL = "http://127.0.0.1:8080"

  # Checks of the arguments that publishers and subscribers share.
  #
  # @api private
  module Options
    # @return [Array<URI::HTTP>] of the nodes or load balancers, to try in turn
    def self.urls(url, pipeline, resource)
      url ||= ENV["PIPECAST_URL"]
      url = DEFAULT_URL if url.nil? || url.empty?
      texts = url.is_a?(Array) ? url : url.to_s.split(",")
      texts.map { |text| uri(text.to_s.strip, pipeline, resource) }
    end

    def self.pipeline(pipeline)
      return pipeline.to_s.dup.freeze if /\A[A-Za-z0-9._~-]{1,128}\z/.match?(pipeline.to_s) && ![".", ".."].include?(pipeline.to_s)

      raise ArgumentError, "#{pipeline.inspect} is not a valid pipeline: use 1-128 characters of A-Z a-z 0-9 . _ ~ -"
    end

    # @return [#call] gives the token for the next request, or nil
    def self.token(token)
      return -> { checked_token(token.call) } if token.respond_to?(:call)

      token ||= ENV["PIPECAST_TOKEN"]
      token = token.to_s.empty? ? nil : checked_token(token)
      -> { token }
    end

    def self.seconds(name, value, range)
      return value if value.is_a?(Numeric) && value.positive? && range.cover?(value)

      raise ArgumentError, "#{name} must be a number of seconds above #{range.begin} and up to #{range.end}"
    end

    class << self
      private

      def uri(text, pipeline, resource)
        uri = begin
          URI.parse(text)
        rescue URI::InvalidURIError
          # Not with the text and not as the cause: it may hold a secret.
          raise ArgumentError, "url is not valid: use that of a node or a load balancer, such as #{DEFAULT_URL}", cause: nil
        end
        raise ArgumentError, "url must begin with http:// or https://" unless uri.is_a?(URI::HTTP) && uri.hostname && !uri.hostname.empty?
        raise ArgumentError, "url must not contain a user, a password, ? or #; pass a token instead" if uri.userinfo || text.match?(/[?#]/)

        URI.parse("#{text.sub(%r{/+\z}, '')}/pipelines/#{pipeline}/#{resource}")
      end

      # Errors never contain the token.
      def checked_token(token)
        return if token.nil?
        return token.to_s.dup.freeze if /\A[\x21-\x7e]+\z/.match?(token.to_s)

        raise ArgumentError, "invalid token: a token is visible ASCII without spaces"
      end
    end
  end
  private_constant :Options
end
