import ByteIO
import Foundation
import Synchronization

/// What `body` reads; nil for bytes that it refuses as it should.
func reading<Value>(_ body: () throws -> Value) throws -> Value? {
  do { return try body() } catch is ParseFailure { return nil }
}

func require(_ condition: Bool, _ promise: String) throws {
  guard condition else { throw FuzzFinding(description: "broken: \(promise)") }
}

/// What was read once must be read again.
func again<Value>(_ promise: String, _ body: () throws -> Value) throws -> Value {
  do { return try body() } catch { throw FuzzFinding(description: "broken: \(promise): \(error)") }
}

/// The parts of an input that holds several files: what stands before the first NUL, and what stands behind it.
func parts(_ input: [UInt8]) -> (first: [UInt8], second: [UInt8]) {
  guard let cut = input.firstIndex(of: 0) else { return (input, []) }
  return (Array(input[..<cut]), Array(input[(cut + 1)...]))
}

/// A directory in memory, where there is one, that lives as long as `body` runs.
func withFolder<Value>(_ body: (String) throws -> Value) throws -> Value {
  let parent = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
  let number = folderCount.add(1, ordering: .relaxed).newValue
  let path = "\(parent)/llama-fuzz-\(ProcessInfo.processInfo.processIdentifier)-\(number)"
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try body(path)
}

private let folderCount = Atomic<Int>(0)

/// Writes `bytes` and, up to `byteCount`, zeros that take no room.
func write(_ bytes: [UInt8], to path: String, byteCount: Int? = nil) throws {
  guard FileManager.default.createFile(atPath: path, contents: Data(bytes)) else {
    throw CocoaError(.fileWriteUnknown)
  }
  if let byteCount, byteCount > bytes.count {
    let file = try FileHandle(forWritingTo: URL(filePath: path))
    try file.truncate(atOffset: UInt64(byteCount))
    try file.close()
  }
}
