internal import ByteIO
internal import Foundation

/// Where a program's words go: results to standard output, everything else to standard error.
public struct Console: Sendable {
  /// The program's name, put before each message.
  public let program: String
  /// No progress and no remarks; errors are still told.
  public let isQuiet: Bool
  /// Standard error is a terminal: progress may redraw its line.
  public let isTerminal: Bool

  public init(program: String, isQuiet: Bool) {
    self.program = program
    self.isQuiet = isQuiet
    isTerminal = isatty(FileHandle.standardError.fileDescriptor) == 1
  }

  /// The result, as given but for control characters other than line ends and tabs, which JSON has none of.
  /// - Throws: `FileFailure` when standard output does not take it.
  public func result(_ text: String) throws {
    do {
      try FileHandle.standardOutput.write(contentsOf: Data(Self.plain(text).utf8))
    } catch {
      throw FileFailure(
        path: "standard output", operation: "write the result", kind: .inputOutput, detail: error.localizedDescription)
    }
  }

  /// One line for the person or the log.
  public func remark(_ text: String) {
    if !isQuiet { error(text) }
  }

  /// One line that is told even when quiet.
  public func error(_ text: String) { Self.tell("\(program): \(Self.plain(text))\n") }

  /// Names and messages come from files of strangers: what could move a terminal's cursor is shown as its number.
  private static func plain(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isUnseen) else { return text }
    return text.unicodeScalars.reduce(into: "") { result, scalar in
      if isUnseen(scalar) {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
  }

  private static func isUnseen(_ scalar: Unicode.Scalar) -> Bool {
    scalar != "\n" && scalar != "\t" && (scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value))
  }

  /// Text for standard error. One that takes no more is no reason to give up the work.
  static func tell(_ text: String) { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }

  /// Runs a command's body; whatever it throws becomes one message and the documented exit code.
  public func run(_ body: () throws -> Void) throws {
    ProcessMemory.keepsFreedBuffers()
    do {
      try body()
    } catch let code as ExitCodeCarrier {
      throw code.status.exitCode
    } catch {
      let status = ExitStatus(for: error)
      self.error(status == .bug ? "internal error, please report it: \(error)" : "\(error)")
      throw status.exitCode
    }
  }
}

/// Ends a command with a status that is a verdict, not an error: nothing is printed for it.
public struct ExitCodeCarrier: Error {
  public let status: ExitStatus
  public init(_ status: ExitStatus) { self.status = status }
}
