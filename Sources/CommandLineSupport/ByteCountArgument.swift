public import ArgumentParser
internal import ByteIO

/// A number of bytes on the command line: `5GB` and `5G` are 10⁹, `5GiB` is 2³⁰, a bare number is bytes.
public struct ByteCountArgument: ExpressibleByArgument, Sendable, CustomStringConvertible {
  public let bytes: UInt64

  public init(_ bytes: UInt64) { self.bytes = bytes }

  public init?(argument: String) {
    guard let size = try? ByteSize(parsing: argument) else { return nil }
    bytes = size.byteCount
  }

  public var description: String { ByteSize(bytes).description }
  public var defaultValueDescription: String { description }
}
