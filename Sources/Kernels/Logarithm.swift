#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// The system's natural logarithm in binary64.
enum Logarithm {
  static func natural(_ x: Double) -> Double { log(x) }
}
