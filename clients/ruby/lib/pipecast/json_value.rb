# frozen_string_literal: true

require "json"

module Pipecast
  # A payload as JSON text.
  #
  # Stricter than JSON.generate, which turns objects into strings such as "#<User:0x0000>": what JSON cannot carry is an error
  # that names the place.
  #
  # @api private
  module JsonValue
    DEPTH = 128
    # Each value has at least one byte of JSON. More values than the size of the largest event cannot fit.
    MAX_VALUES = 256 * 1024
    private_constant :DEPTH, :MAX_VALUES

    # @return [String] UTF-8
    # @raise [TypeError, ArgumentError]
    def self.generate(payload)
      JSON.generate(Copy.new.of(payload, "payload", 0), max_nesting: 0)
    end

    # A copy that contains only the classes of JSON.
    class Copy
      def initialize
        @values = 0
      end

      def of(value, place, depth)
        @values += 1
        raise ArgumentError, "payload has more than #{MAX_VALUES} values; send a reference to the data instead" if @values > MAX_VALUES

        case value
        when nil, true, false, Integer then value
        when String then text(value, place)
        when Symbol then text(value.name, place)
        when Float then finite(value, place)
        when Hash then hash(value, place, deeper(depth))
        when Array then value.each_with_index.map { |element, index| of(element, "#{place}[#{index}]", deeper(depth)) }
        else converted(value, place, depth)
        end
      end

      private

      def hash(value, place, depth)
        value.each_with_object({}) do |(key, element), copy|
          name = name_of(key, place)
          raise ArgumentError, "#{place} has the key #{name.inspect} twice, as a string and as a symbol or number" if copy.key?(name)

          copy[name] = of(element, "#{place}[#{key.inspect}]", depth)
        end
      end

      def name_of(key, place)
        case key
        when String then text(key, "a key of #{place}")
        when Symbol then text(key.name, "a key of #{place}")
        when Integer then key.to_s
        else raise TypeError, "#{place} has a key of the class #{key.class}; use strings or symbols"
        end
      end

      def text(value, place)
        # Bytes from a socket or a file are usually UTF-8 that nobody has labelled.
        utf8 = value.encoding == Encoding::BINARY ? value.dup.force_encoding(Encoding::UTF_8) : value.encode(Encoding::UTF_8)
        raise ArgumentError, "#{place} is not valid UTF-8; send binary data as Base64" unless utf8.valid_encoding?

        # Not of a subclass, which may have a to_json of its own.
        String.new(utf8)
      rescue EncodingError
        raise ArgumentError, "#{place} cannot be converted to UTF-8 from #{value.encoding}"
      end

      def finite(value, place)
        return value if value.finite?

        raise ArgumentError, "#{place} is #{value}, which JSON cannot carry; send nil or a string"
      end

      # Active Support gives every object `as_json`: records become hashes, times ISO 8601.
      def converted(value, place, depth)
        return of(value.as_json, place, deeper(depth)) if value.respond_to?(:as_json)

        raise TypeError, "#{place} is of the class #{value.class}, which JSON cannot carry; send a hash, an array, a string, a number, true, false or nil"
      end

      def deeper(depth)
        return depth + 1 if depth < DEPTH

        raise ArgumentError, "payload is nested deeper than #{DEPTH} levels; flatten it or send it as a string"
      end
    end
    private_constant :Copy
  end
  private_constant :JsonValue
end
