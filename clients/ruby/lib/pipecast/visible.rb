# frozen_string_literal: true

module Pipecast
  # Makes text from outside safe to print on a terminal or in a log: characters that move a cursor, set a title or reverse
  # other text become escapes.
  #
  # @api private
  module Visible
    # C0 and C1 controls, DEL, and invisible Unicode characters. Joiners stay, because scripts and emoji need them.
    HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/
    private_constant :HIDDEN

    # @return [String] the text on one line
    def self.line(text)
      utf8(text).gsub(HIDDEN) { |character| format("\\u%04x", character.ord) }
    end

    # Messages of the system come in the locale's encoding, responses as bytes.
    def self.utf8(text)
      text = text.to_s
      text = text.dup.force_encoding(Encoding::UTF_8) if text.encoding == Encoding::BINARY || text.encoding == Encoding::US_ASCII
      text.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub
    end
    private_class_method :utf8
  end
  private_constant :Visible
end
