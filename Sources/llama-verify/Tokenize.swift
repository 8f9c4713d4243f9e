internal import ArgumentParser
internal import ByteIO
internal import Checkpoints
internal import CommandLineSupport
internal import Tokenizers

/// `llama-verify tokenize MODEL`: ids of lines, to compare this tokenizer with others.
struct Tokenize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print the token ids of texts read from standard input.",
    discussion:
      "Each line of input is one text as hexadecimal digits of its UTF-8 bytes; each line of output its ids. With --chat each line is one conversation in JSON, and what llama-verify --chat scores has a star behind its id."
  )

  @Argument(help: "A checkpoint directory, or a tokenizer file.") var model: String

  @Flag(help: "Read conversations, as llama-verify --chat does.") var chat = false

  func run() throws {
    let console = Console(program: "llama-verify", isQuiet: false)
    try console.run {
      let tokenizer = try tokenizer()
      if chat { return try renderChats(tokenizer, console) }
      while let line = readLine() {
        guard let bytes = Self.bytes(line) else { throw UsageFailure("a line is not hexadecimal: \(line.prefix(40))") }
        let ids = tokenizer.encode(RepairedText(repairing: bytes).bytes)
        var row = ""
        row.reserveCapacity(ids.count * 6)
        for id in ids { row += row.isEmpty ? "\(id)" : " \(id)" }
        try console.result(row + "\n")
      }
    }
  }

  private func renderChats(_ tokenizer: any Tokenizer, _ console: Console) throws {
    let format = try ChatFormat(of: tokenizer)
    while let line = readLine() {
      let messages = try ChatMessage.conversation(parsing: Array(line.utf8))
      let rendering = try format.render(messages, with: tokenizer)
      let scored = Set(rendering.scored.joined())
      let ids = rendering.ids.enumerated().map { "\($1)" + (scored.contains($0) ? "*" : "") }
      try console.result(ids.joined(separator: " ") + "\n")
    }
  }

  private func tokenizer() throws -> any Tokenizer {
    if try FileSystem.kind(of: model) == .file, try !Checkpoint.isFile(model) {
      do {
        return try TokenizerFile.tokenizer(try ReadableFile.contents(of: model, limit: 256 << 20))
      } catch let failure as ParseFailure {
        throw failure.in(file: model)
      }
    }
    guard let tokenizer = try Checkpoint(path: model).tokenizer() else {
      throw ParseFailure("there is no tokenizer", file: model)
    }
    return tokenizer
  }

  /// - Returns: nil for a line that is not hexadecimal.
  private static func bytes(_ line: String) -> [UInt8]? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(line.utf8.count / 2)
    var high: UInt8?
    for digit in line.utf8 {
      let value: UInt8
      switch digit {
      case 0x30...0x39: value = digit - 0x30
      case 0x41...0x46: value = digit - 0x37
      case 0x61...0x66: value = digit - 0x57
      default: return nil
      }
      if let first = high {
        bytes.append(first << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    return high == nil ? bytes : nil
  }
}
