import ByteIO
import Foundation
import Support
import Tensors
import Testing
import TorchFormat

/// A file of torch.save with what torch says is in it: `Tests/Interop/torch_vectors.py`.
struct TorchVector: Sendable, CustomTestStringConvertible {
  struct Tensor: Sendable, Equatable {
    let type: String
    let shape: [Int]
    let sha256: String
  }

  let name: String
  let tensors: [String: Tensor]
  var testDescription: String { name }
  var path: String { Fixtures.bundled("torch/\(name)").path }

  static let all: [TorchVector] = {
    guard let data = try? Data(contentsOf: Fixtures.bundled("torch/expected.json")),
      let files = try? JSONSerialization.jsonObject(with: data) as? [String: [String: [Any]]]
    else { return [] }
    return files.keys.sorted().map { name in
      let tensors = (files[name] ?? [:]).compactMapValues { entry -> Tensor? in
        guard let type = entry[0] as? String, let shape = entry[1] as? [Int], let sum = entry[2] as? String else {
          return nil
        }
        return Tensor(type: type, shape: shape, sha256: sum)
      }
      return TorchVector(name: name, tensors: tensors)
    }
  }()
}

@Suite("Files of torch.save")
struct ReadingTests {
  @Test func allVectorsAreThere() { #expect(TorchVector.all.count == 12) }

  @Test(arguments: TorchVector.all)
  func holdsWhatTorchSaved(_ vector: TorchVector) throws {
    let file = try TorchFile(path: vector.path)
    var found: [String: TorchVector.Tensor] = [:]
    for info in file.tensors {
      found[info.name] = TorchVector.Tensor(
        type: info.elementType.rawValue, shape: info.shape.dimensions, sha256: sha256(try file.bytes(of: info.name)))
    }
    #expect(found == vector.tensors)
    try file.proveIntegrity()
  }

  @Test(
    "Parts of any tensor, strided ones too, are parts of the whole",
    arguments: ["views.pth", "deflated.pth", "legacy.pth"])
  func readsParts(_ name: String) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    let file = try TorchFile(path: Fixtures.bundled("torch/\(name)").path)
    for info in file.tensors where info.byteCount > 0 {
      let whole = try file.bytes(of: info.name)
      let width = info.elementType.bits / 8
      for _ in 0..<20 {
        let count = info.byteCount / width
        let start = Int.random(in: 0..<count, using: &random)
        let end = Int.random(in: start...count, using: &random)
        let part = try read(file, info.name, start * width..<end * width)
        #expect(part == Array(whole[start * width..<end * width]), "\(info.name) \(start)..<\(end), seed \(seed)")
      }
    }
  }

  private func read(_ file: TorchFile, _ name: String, _ range: Range<Int>) throws -> [UInt8] {
    var buffer = [UInt8](repeating: 0xAA, count: range.count)
    var span = buffer.mutableSpan
    try file.read(name, at: range.lowerBound, into: &span)
    return buffer
  }

  /// Element i of `t{i}` is i modulo 256.
  @Test(arguments: [("many.pth", 1000), ("more.pth", 1001)])
  func readsBatches(_ name: String, _ count: Int) throws {
    let file = try TorchFile(path: Fixtures.bundled("torch/\(name)").path)
    #expect(file.tensors.map(\.name) == (0..<count).map { "t\($0)" })
    for index in 0..<count { #expect(try file.bytes(of: "t\(index)") == [UInt8(index % 256)]) }
  }

  @Test func namesWhatIsNoTensor() throws {
    let file = try TorchFile(path: Fixtures.bundled("torch/nested.pth").path)
    #expect(file.tensors.map(\.name) == ["a", "b"])
    #expect(file.info("b")?.shape == [3])
    #expect(file.info("epoch") == nil)
  }
}
