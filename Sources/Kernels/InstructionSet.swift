internal import CKernels

/// The instruction sets that kernels are compiled for. A kernel gives the same bytes on each of them.
public enum InstructionSet: Int, CaseIterable, Comparable, Sendable, CustomStringConvertible {
  /// Portable C without vector instructions: the definition of every result.
  case scalar = 0
  /// x86-64 with AVX2, FMA and F16C.
  case avx2 = 1
  /// x86-64 with AVX-512 F, BW, DQ and VL.
  case avx512 = 2

  /// The best one that this processor and operating system support, up to the limit set.
  public static var best: InstructionSet { InstructionSet(rawValue: Int(ck_best_level().rawValue)) ?? .scalar }

  /// Keeps the whole process from using better ones from now on. Results are the same, only slower: to compare
  /// instruction sets, and to rule one out when a machine is suspected.
  public static func limit(to instructionSet: InstructionSet) { ck_limit_level(instructionSet.level) }

  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

  public var description: String {
    switch self {
    case .scalar: "scalar"
    case .avx2: "avx2"
    case .avx512: "avx512"
    }
  }

  var level: ck_level { ck_level(rawValue: UInt32(rawValue)) ?? .scalar }
}
